// One control for each kind of field. A control has `node`, `read()` (undefined where nothing is to be sent),
// `write(value)`, and `blame(path, message)`, which shows an error where it belongs and gives the element to go to.
import { el, icon, newId, svg } from "./dom.js";
import { pictureControl } from "./picture.js";
import { PRESETS } from "./schema.js";

const MAKERS = {
  picture: (field) => pictureControl(field, frame(field, { group: true })),
  text: textControl,
  size: sizeControl,
  choice: choiceControl,
  range: numberControl,
  number: numberControl,
  switch: switchControl,
  strings: stringsControl,
  list: listControl,
  object: objectControl,
  fixed: fixedControl,
  json: jsonControl,
};

export const controlOf = (field) => MAKERS[field.kind](field);

const shown = (value) => (typeof value === "string" && value ? value : JSON.stringify(value));

/** Tells the form that a value changed by other means than typing. */
export const touch = (node) => node.dispatchEvent(new Event("change", { bubbles: true }));

/** What stands around every control: its label, an explanation on demand, the default, and room for an error. */
export function frame(field, { group = false } = {}) {
  const id = newId(field.name);
  const label = el(group ? "span" : "label", { class: "label", id: `${id}-label`, for: group ? null : id, text: field.label });
  const hint = el("p", { class: "hint", id: `${id}-hint`, hidden: true, text: field.help });
  const error = el("p", { class: "error", id: `${id}-error` });
  const more = field.help && el(
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
function simple(field, input, read, write) {
  const outer = frame(field);
  input.id = outer.id;
  input.setAttribute("aria-describedby", outer.describedBy);
  if (field.required) input.setAttribute("aria-required", "true");
  outer.hold(input);
  return { field, node: outer.node, outer, input, read, write, blame: (_, message) => outer.blame(message, input) };
}

function textControl(field) {
  const attributes = { placeholder: field.example && field.required ? field.example : null, autocomplete: "off" };
  const input = field.long ? el("textarea", { rows: 3, ...attributes }) : el("input", { type: "text", ...attributes });
  const write = (value) => (input.value = value ?? "");
  write(field.default);
  return simple(field, input, () => input.value || (field.default ? "" : undefined), write);
}

function numberControl(field) {
  const { min, max, step, integer } = field;
  const input = el("input", {
    type: "number",
    class: "number",
    inputmode: integer ? "numeric" : "decimal",
    step: integer ? 1 : "any",
    min,
    max,
    placeholder: field.name === "seed" ? "random" : null,
    autocomplete: "off",
  });
  const write = (value) => {
    input.value = value ?? "";
    follow();
  };
  // Text that is no number must be told, and not be taken for a field left empty.
  const read = () => (input.validity.badInput ? NaN : input.value === "" ? undefined : Number(input.value));
  const slider = field.kind === "range" && el("input", { type: "range", min, max, step, "aria-label": `${field.label}, slider` });
  const follow = () => {
    if (!slider) return;
    slider.value = input.value;
    slider.style.setProperty("--part", String((slider.value - min) / (max - min)));
  };
  const control = simple(field, input, read, write);
  if (slider) {
    control.node.classList.add("slides");
    const row = el("div", { class: "slide" });
    input.before(row);
    row.append(slider, input);
    slider.addEventListener("input", () => {
      input.value = slider.value;
      follow();
    });
    input.addEventListener("input", follow);
  }
  if (field.name === "seed") {
    const roll = el("button", { type: "button", class: "quiet with-icon", onclick: () => {
      write(Math.floor(Math.random() * 2 ** 32));
      touch(input);
    } }, icon("dice"), el("span", { text: "Pick one" }));
    const row = el("div", { class: "pair" });
    input.before(row);
    row.append(input, roll);
  }
  write(field.default);
  return control;
}

function switchControl(field) {
  const input = el("input", { type: "checkbox", role: "switch" });
  const control = simple(field, input, () => input.checked, (value) => (input.checked = Boolean(value)));
  // The whole row is the switch: label to the left, knob to the right.
  control.outer.head.append(input);
  control.write(field.default);
  return control;
}

function fixedControl(field) {
  const outer = frame(field, { group: true });
  outer.hold(el("p", { class: "fixed" }, el("code", { text: shown(field.value) }), " set by the operator"));
  const target = outer.node;
  target.tabIndex = -1;
  return { field, node: outer.node, read: () => undefined, write() {}, blame: (_, message) => outer.blame(message, target) };
}

/** Radio buttons that look like one switch, or a list where there are many. */
function choiceControl(field) {
  if (!field.segmented) {
    const options = field.options.map(({ value, label }) => el("option", { value: JSON.stringify(value), text: label }));
    const select = el("select", {}, ...options);
    const write = (value) => (select.value = JSON.stringify(value ?? field.options[0].value));
    write(field.default);
    return simple(field, select, () => JSON.parse(select.value), write);
  }
  return radios(field, "segments", ({ label }) => [el("span", { text: label })]);
}

function radios(field, look, faces) {
  const outer = frame(field, { group: true });
  const name = newId("choice");
  const inputs = field.options.map(({ value }) => el("input", { type: "radio", name, value: JSON.stringify(value) }));
  const labels = field.options.map((option, place) => el("label", {}, inputs[place], el("span", { class: "face" }, ...faces(option))));
  const group = el("div", { role: "radiogroup", class: look, "aria-labelledby": outer.labelledBy, "aria-describedby": outer.describedBy }, ...labels);
  outer.hold(group);
  const checked = () => inputs.find((input) => input.checked);
  const write = (value) => inputs.forEach((input) => (input.checked = input.value === JSON.stringify(value)));
  write(field.default);
  return {
    field,
    node: outer.node,
    outer,
    group,
    inputs,
    read: () => checked() && JSON.parse(checked().value),
    write,
    blame: (_, message) => {
      outer.blame(message, group);
      return checked() ?? inputs[0];
    },
  };
}

/** The size presets as little frames of their shape, and a width and height of one's own. */
function sizeControl(field) {
  const custom = Symbol("custom");
  const options = [...field.options, { value: custom.description, label: "Custom" }];
  const control = radios({ ...field, options }, "sizes", ({ value, label }) => [
    shape(PRESETS[value]),
    el("span", { class: "size-name", text: label }),
    el("span", { class: "size-pixels", text: PRESETS[value]?.join(" × ") ?? "" }),
  ]);
  const sides = field.custom.map((side) => controlOf({ ...side, required: false }));
  const row = el("div", { class: "sides", role: "group", "aria-label": "Custom size", hidden: true }, ...sides.map((side) => side.node));
  control.group.after(row);
  const isCustom = () => control.inputs.at(-1).checked;
  const follow = () => (row.hidden = !isCustom());
  control.group.addEventListener("change", follow);
  const { read, write, blame } = control;
  control.read = () => (isCustom() ? readAll(sides, { keep: () => true }) : read());
  control.write = (value) => {
    const preset = typeof value === "string" || value === undefined;
    write(preset ? value ?? field.default : custom.description);
    if (!preset) writeAll(sides, value);
    follow();
  };
  control.blame = (path, message) => {
    const side = isCustom() && sides.find((each) => each.field.name === path[0]);
    return side ? side.blame(path.slice(1), message) : blame(path, message);
  };
  control.parts = sides;
  return control;
}

function shape(pixels) {
  if (!pixels) return svg(22, ["path", { d: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5" }]);
  const [width, height] = pixels.map((side) => (side / Math.max(...pixels)) * (pixels[0] === 512 ? 11 : 17));
  return svg(22, ["rect", { x: 12 - width / 2, y: 12 - height / 2, width, height, rx: 1.5 }]);
}

function stringsControl(field) {
  const input = el("textarea", { rows: 2, spellcheck: "false", placeholder: "one on each line" });
  const write = (value) => (input.value = (value ?? []).join("\n"));
  write(field.default);
  return simple(field, input, () => input.value.split("\n").map((line) => line.trim()).filter(Boolean), write);
}

function jsonControl(field) {
  const input = el("textarea", { rows: 2, spellcheck: "false", placeholder: "JSON", class: "mono" });
  const write = (value) => (input.value = value === undefined ? "" : JSON.stringify(value, null, 2));
  const read = () => {
    if (!input.value.trim()) return undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      return input.value; // the gate says what is wrong with it
    }
  };
  write(field.default);
  return simple(field, input, read, write);
}

function objectControl(field) {
  const outer = frame(field, { group: true });
  const parts = field.fields.map(controlOf);
  outer.hold(el("div", { class: "nested", role: "group", "aria-labelledby": outer.labelledBy }, ...parts.map((part) => part.node)));
  outer.node.tabIndex = -1;
  return {
    field,
    node: outer.node,
    parts,
    read: () => readAll(parts),
    write: (value) => writeAll(parts, value ?? {}),
    blame: (path, message) => blamePart(parts, path, message) ?? outer.blame(message, outer.node),
  };
}

/** Objects one below the other, each with a button to take it away again. */
function listControl(field) {
  const outer = frame(field, { group: true });
  const rows = el("div", { class: "rows" });
  let items = [];
  const add = el("button", { type: "button", class: "quiet with-icon", onclick: () => {
    put();
    items.at(-1).parts[0].node.querySelector("input, textarea, select")?.focus();
    touch(rows);
  } }, icon("plus", 16), el("span", { text: `Add ${field.itemLabel.toLowerCase()}` }));
  outer.hold(rows, add);

  function put(value) {
    const parts = field.item.map(controlOf);
    const item = { parts, node: null };
    const remove = el("button", { type: "button", class: "quiet square", "aria-label": `Remove this ${field.itemLabel.toLowerCase()}`, onclick: () => {
      items = items.filter((other) => other !== item);
      item.node.remove();
      add.focus();
      touch(rows);
    } }, icon("close", 16));
    item.node = el("div", { class: "row", role: "group", "aria-label": `${field.itemLabel} ${items.length + 1}` }, remove, ...parts.map((part) => part.node));
    items.push(item);
    rows.append(item.node);
    if (value) writeAll(parts, value);
  }

  return {
    field,
    node: outer.node,
    read: () => items.map((item) => readAll(item.parts)),
    write: (value) => {
      items = [];
      rows.replaceChildren();
      (value ?? []).forEach((each) => put(each));
    },
    blame: (path, message) => {
      const item = items[path[0]];
      return (item && blamePart(item.parts, path.slice(1), message)) ?? outer.blame(message, add);
    },
  };
}

function blamePart(parts, path, message) {
  return parts.find((part) => part.field.name === path[0])?.blame(path.slice(1), message);
}

export const same = (a, b) => JSON.stringify(a) === JSON.stringify(b);

/** What is to be sent: what was set, without what the gate fills in by itself. */
export function readAll(controls, { keep = () => false } = {}) {
  const values = {};
  for (const control of controls) {
    const value = control.read();
    if (value !== undefined && (keep(control) || !same(value, control.field.default))) values[control.field.name] = value;
  }
  return values;
}

export function writeAll(controls, values) {
  for (const control of controls) control.write(control.field.name in values ? values[control.field.name] : control.field.default);
}
