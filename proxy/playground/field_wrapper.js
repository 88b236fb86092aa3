// Label, hint and error around each control; reading and writing of several controls.
import { el, icon, newId } from "./dom.js";

export const shown = (value) => (typeof value === "string" && value ? value : JSON.stringify(value));

/** Notifies the form of a value that changed without typing. */
export const touch = (node) => node.dispatchEvent(new Event("change", { bubbles: true }));

/** Wrapper of a control: label, optional explanation, default, and room for an error. */
export function frame(field, { group = false } = {}) {
  const id = newId(field.name);
  const label = el(group ? "span" : "label", {
    class: "label",
    id: `${id}-label`,
    for: group ? null : id,
    text: field.label,
  });
  const hint = el("p", { class: "hint", id: `${id}-hint`, hidden: true, text: field.help });
  const error = el("p", { class: "error", id: `${id}-error` });
  const more =
    field.help &&
    el(
      "button",
      {
        type: "button",
        class: "info",
        "aria-label": `About ${field.label}`,
        "aria-expanded": "false",
        "aria-controls": hint.id,
        onclick: () => {
          hint.hidden = !hint.hidden;
          more.setAttribute("aria-expanded", String(!hint.hidden));
        },
      },
      icon("info", 16),
    );
  const preset = field.default !== undefined && !['""', "[]"].includes(shown(field.default)) && field.kind !== "fixed";
  const note = field.required ? "required" : preset ? `default ${shown(field.default)}` : "";
  const head = el("div", { class: "field-head" }, label, more, el("span", { class: "note", text: note }));
  const node = el("div", { class: `field field-${field.kind}`, "data-name": field.name }, head, hint, error);
  return {
    id,
    node,
    head,
    describedBy: `${hint.id} ${error.id}`,
    labelledBy: label.id,
    /** Puts the control proper between the label and the explanation. */
    hold(...children) {
      hint.before(...children);
    },
    blame(message, target) {
      error.textContent = message;
      node.classList.toggle("wrong", Boolean(message));
      for (const input of [target].flat()) {
        if (message) input.setAttribute("aria-invalid", "true");
        else input.removeAttribute("aria-invalid");
      }
      return [target].flat()[0];
    },
  };
}

/** A control of one native input. */
export function simple(field, input, read, write) {
  const outer = frame(field);
  input.id = outer.id;
  input.setAttribute("aria-describedby", outer.describedBy);
  if (field.required) input.setAttribute("aria-required", "true");
  outer.hold(input);
  return {
    field,
    node: outer.node,
    outer,
    input,
    read,
    write,
    blame: (_, message) => outer.blame(message, input),
  };
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** Returns the values to send: values that were set, without defaults that the gateway fills in. */
export function readAll(controls, { keep = () => false } = {}) {
  const values = {};
  for (const control of controls) {
    const value = control.read();
    if (value !== undefined && (keep(control) || !same(value, control.field.default)))
      values[control.field.name] = value;
  }
  return values;
}

export function writeAll(controls, values) {
  for (const control of controls)
    control.write(control.field.name in values ? values[control.field.name] : control.field.default);
}
