// One control for each kind of field. A control has `node`, `read()` (undefined where it has no value), `initial` (what
// an untouched one reads), `write(value)` (undefined: the default), and `blame(path, message)`, which returns the
// element to focus.
import { choiceControl, sizeControl } from "./choice_field.js";
import { el, newId } from "../dom.js";
import { FieldFrame, simple, valueText } from "./field_wrapper.js";
import { FileControl } from "./file_field.js";
import { ListControl, ObjectControl } from "./list_field.js";
import { numberControl } from "./number_field.js";

const MAKERS = {
  file: (field) => new FileControl(field),
  files: (field) => new FileControl(field),
  text: textControl,
  size: sizeControl,
  choice: choiceControl,
  range: numberControl,
  number: numberControl,
  switch: switchControl,
  strings: stringsControl,
  list: (field) => new ListControl(field, createControl),
  object: (field) => new ObjectControl(field, createControl),
  fixed: fixedControl,
  json: jsonControl,
};

export function createControl(field) {
  const control = MAKERS[field.kind](field);
  control.write(field.default);
  control.initial = control.read();
  return control;
}

function textControl(field) {
  const attributes = {
    placeholder: field.example && field.required ? field.example : null,
    autocomplete: "off",
  };
  const input = field.long ? el("textarea", { rows: 3, ...attributes }) : el("input", { type: "text", ...attributes });
  const empty = () => (field.default === undefined ? undefined : field.nullable ? null : "");
  const write = (value) => (input.value = value === undefined ? (field.default ?? "") : (value ?? ""));
  const control = simple(field, input, () => input.value || (field.default === "" ? "" : empty()), write);
  if (field.suggestions) {
    const list = el("datalist", { id: newId("choices") }, ...field.suggestions.map((value) => el("option", { value })));
    input.setAttribute("list", list.id);
    input.after(list);
  }
  return control;
}

function switchControl(field) {
  const input = el("input", { type: "checkbox", role: "switch" });
  const write = (value) => (input.checked = value ?? field.default);
  const control = simple(field, input, () => input.checked, write);
  // The whole row is the switch: label to the left, knob to the right.
  control.outer.head.append(input);
  return control;
}

function fixedControl(field) {
  const outer = new FieldFrame(field, { group: true });
  const by = field.byModel ? " fixed by the model" : " set by the operator";
  outer.hold(el("p", { class: "fixed" }, el("code", { text: valueText(field.value) }), by));
  outer.node.tabIndex = -1;
  return {
    field,
    node: outer.node,
    // A constant that the model requires is sent; one of the operator is added by the gateway.
    read: () => (field.required && field.byModel ? field.value : undefined),
    write() {},
    blame: (_, message) => outer.blame(message, outer.node),
  };
}

function stringsControl(field) {
  const input = el("textarea", { rows: 2, spellcheck: "false", placeholder: "one on each line" });
  const write = (value) => (input.value = (value === undefined ? (field.default ?? []) : (value ?? [])).join("\n"));
  const read = () => {
    const lines = input.value.split("\n").map((line) => line.trim());
    const values = lines.filter(Boolean);
    return values.length || field.default !== undefined ? values : undefined;
  };
  return simple(field, input, read, write);
}

function jsonControl(field) {
  const input = el("textarea", { rows: 2, spellcheck: "false", placeholder: "JSON", class: "mono" });
  const write = (value) => {
    const shown = value === undefined ? field.default : value;
    input.value = shown === undefined ? "" : JSON.stringify(shown, null, 2);
  };
  const read = () => {
    if (!input.value.trim()) return field.default !== undefined && field.nullable ? null : undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      return input.value; // the gateway's 422 names the error
    }
  };
  return simple(field, input, read, write);
}
