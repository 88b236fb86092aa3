// Label, hint and error around each control; reading and writing of several controls.
import { el, icon, newId } from "../dom.js";

export const valueText = (value) => (typeof value === "string" && value ? value : JSON.stringify(value));

/** Notifies the form of a value that changed without typing. */
export const touch = (node) => node.dispatchEvent(new Event("change", { bubbles: true }));

/** Wrapper of a control: label, optional explanation, default, and room for an error. */
export class FieldFrame {
  constructor(field, { group = false } = {}) {
    this.id = newId(field.name);
    this.label = el(group ? "span" : "label", {
      class: "label",
      id: `${this.id}-label`,
      for: group ? null : this.id,
      text: field.label,
    });
    this.hint = el("p", { class: "hint", id: `${this.id}-hint`, hidden: true, text: field.help });
    this.error = el("p", { class: "error", id: `${this.id}-error` });
    this.head = el("div", { class: "field-head" }, this.label, field.help && this.#about(field), note(field));
    this.node = el(
      "div",
      { class: `field field-${field.kind}`, "data-name": field.name },
      this.head,
      this.hint,
      this.error,
    );
    this.describedBy = `${this.hint.id} ${this.error.id}`;
    this.labelledBy = this.label.id;
  }

  #about(field) {
    const button = el("button", {
      type: "button",
      class: "info",
      "aria-label": `About ${field.label}`,
      "aria-expanded": "false",
      "aria-controls": this.hint.id,
      onclick: () => {
        this.hint.hidden = !this.hint.hidden;
        button.setAttribute("aria-expanded", String(!this.hint.hidden));
      },
    });
    button.append(icon("info", 16));
    return button;
  }

  /** Puts the control proper between the label and the explanation. */
  hold(...children) {
    this.hint.before(...children);
  }

  /** Shows *message* at *target*, the element to focus, which is returned. An empty message clears it. */
  blame(message, target) {
    this.error.textContent = message;
    this.node.classList.toggle("wrong", Boolean(message));
    if (message) target.setAttribute("aria-invalid", "true");
    else target.removeAttribute("aria-invalid");
    return target;
  }
}

function note(field) {
  const preset = field.default !== undefined && !['""', "[]", "{}"].includes(valueText(field.default));
  const text = field.required
    ? "required"
    : preset && field.kind !== "fixed"
      ? `default ${valueText(field.default)}`
      : "";
  return el("span", { class: "note", text });
}

/** Returns a control of one native input. */
export function simple(field, input, read, write) {
  const outer = new FieldFrame(field);
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

/** Returns true where the user has changed the value of *control*. */
export const changed = (control) => !same(control.read(), control.initial);

/** Returns the values to send: those of required fields, and of optional fields that the user changed. */
export function readAll(controls) {
  const values = {};
  for (const control of controls) {
    const value = control.read();
    if (value !== undefined && (control.field.required || changed(control))) values[control.field.name] = value;
  }
  return values;
}

/** Writes *values*; a control without one goes back to its default. */
export function writeAll(controls, values) {
  for (const control of controls)
    control.write(control.field.name in values ? values[control.field.name] : control.field.default);
}
