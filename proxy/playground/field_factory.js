// One control for each kind of field. A control has `node`, `read()` (undefined where nothing is to be sent),
// `write(value)`, and `blame(path, message)`, which shows an error and returns the element to focus.
import { choiceControl, sizeControl } from "./choice_field.js";
import { el, icon } from "./dom.js";
import { frame, readAll, shown, simple, touch, writeAll } from "./field_wrapper.js";
import { numberControl } from "./number_field.js";
import { pictureControl } from "./image_field.js";

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

export const createControl = (field) => MAKERS[field.kind](field);

function textControl(field) {
  const attributes = {
    placeholder: field.example && field.required ? field.example : null,
    autocomplete: "off",
  };
  const input = field.long ? el("textarea", { rows: 3, ...attributes }) : el("input", { type: "text", ...attributes });
  const write = (value) => (input.value = value ?? "");
  write(field.default);
  return simple(field, input, () => input.value || (field.default ? "" : undefined), write);
}

function switchControl(field) {
  const input = el("input", { type: "checkbox", role: "switch" });
  const control = simple(
    field,
    input,
    () => input.checked,
    (value) => (input.checked = Boolean(value)),
  );
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
  return {
    field,
    node: outer.node,
    read: () => undefined,
    write() {},
    blame: (_, message) => outer.blame(message, target),
  };
}

function stringsControl(field) {
  const input = el("textarea", { rows: 2, spellcheck: "false", placeholder: "one on each line" });
  const write = (value) => (input.value = (value ?? []).join("\n"));
  write(field.default);
  return simple(
    field,
    input,
    () =>
      input.value
        .split("\n")
        .map((line) => line.trim())
        .filter(Boolean),
    write,
  );
}

function jsonControl(field) {
  const input = el("textarea", { rows: 2, spellcheck: "false", placeholder: "JSON", class: "mono" });
  const write = (value) => (input.value = value === undefined ? "" : JSON.stringify(value, null, 2));
  const read = () => {
    if (!input.value.trim()) return undefined;
    try {
      return JSON.parse(input.value);
    } catch {
      return input.value; // the gateway's 422 names the error
    }
  };
  write(field.default);
  return simple(field, input, read, write);
}

function objectControl(field) {
  const outer = frame(field, { group: true });
  const parts = field.fields.map(createControl);
  outer.hold(
    el(
      "div",
      { class: "nested", role: "group", "aria-labelledby": outer.labelledBy },
      ...parts.map((part) => part.node),
    ),
  );
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
  const add = el(
    "button",
    {
      type: "button",
      class: "quiet with-icon",
      onclick: () => {
        put();
        items.at(-1).parts[0].node.querySelector("input, textarea, select")?.focus();
        touch(rows);
      },
    },
    icon("plus", 16),
    el("span", { text: `Add ${field.itemLabel.toLowerCase()}` }),
  );
  outer.hold(rows, add);

  function put(value) {
    const parts = field.item.map(createControl);
    const item = { parts, node: null };
    const remove = el(
      "button",
      {
        type: "button",
        class: "quiet square",
        "aria-label": `Remove this ${field.itemLabel.toLowerCase()}`,
        onclick: () => {
          items = items.filter((other) => other !== item);
          item.node.remove();
          add.focus();
          touch(rows);
        },
      },
      icon("close", 16),
    );
    item.node = el(
      "div",
      { class: "row", role: "group", "aria-label": `${field.itemLabel} ${items.length + 1}` },
      remove,
      ...parts.map((part) => part.node),
    );
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
