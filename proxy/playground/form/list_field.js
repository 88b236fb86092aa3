// Objects and lists of objects: rows of fields that are added and removed.
import { el, icon } from "../dom.js";
import { itemName } from "./labels.js";
import { FieldFrame, readAll, touch, writeAll } from "./field_wrapper.js";

const FIRST_INPUT = "input, textarea, select";

const addButton = (name, onclick) =>
  el("button", { type: "button", class: "quiet with-icon", onclick }, icon("plus", 16), el("span", { text: `Add ${name}` }));

const removeButton = (name, onclick) =>
  el(
    "button",
    { type: "button", class: "quiet square", "aria-label": `Remove this ${name}`, onclick },
    icon("close", 16),
  );

const blamePart = (parts, path, message) =>
  parts.find((part) => part.field.name === path[0])?.blame(path.slice(1), message);

/** Returns a control of one object. An optional one without a default has no value until it is added. */
export function objectControl(field, createControl) {
  const outer = new FieldFrame(field, { group: true });
  const fixed = field.required || field.default !== undefined;
  const name = itemName(field.label);
  const holder = el("div", { class: fixed ? "nested" : "row", role: "group", "aria-labelledby": outer.labelledBy });
  const add = addButton(name, () => {
    open();
    holder.querySelector(FIRST_INPUT)?.focus();
    touch(holder);
  });
  let parts = null;

  function open() {
    parts = field.fields.map(createControl);
    const remove = removeButton(name, () => {
      close();
      add.focus();
      touch(outer.node);
    });
    holder.replaceChildren(...(fixed ? [] : [remove]), ...parts.map((part) => part.node));
    holder.hidden = false;
    add.hidden = true;
  }

  function close() {
    parts = null;
    holder.replaceChildren();
    holder.hidden = true;
    add.hidden = false;
  }

  outer.hold(holder, add);
  outer.node.tabIndex = -1;
  return {
    field,
    node: outer.node,
    get parts() {
      return parts ?? [];
    },
    read: () => (parts ? readAll(parts) : undefined),
    write(value) {
      const next = value === undefined ? field.default : value;
      if (!next && !fixed) return close();
      open();
      writeAll(parts, next ?? {});
    },
    blame: (path, message) => blamePart(parts ?? [], path, message) ?? outer.blame(message, parts ? outer.node : add),
  };
}

/** Returns a control of a list of objects, one below the other. */
export function listControl(field, createControl) {
  const outer = new FieldFrame(field, { group: true });
  const rows = el("div", { class: "rows" });
  let items = [];
  const add = addButton(field.itemName, () => {
    put();
    items.at(-1).node.querySelector(FIRST_INPUT)?.focus();
    touch(rows);
  });
  outer.hold(rows, add);

  function put(value) {
    const parts = field.item.map(createControl);
    const remove = removeButton(field.itemName, () => {
      items = items.filter((other) => other.parts !== parts);
      node.remove();
      add.focus();
      touch(rows);
    });
    const label = `${field.itemName} ${items.length + 1}`;
    const node = el("div", { class: "row", role: "group", "aria-label": label }, remove, ...parts.map((part) => part.node));
    items.push({ parts, node });
    rows.append(node);
    if (value) writeAll(parts, value);
  }

  return {
    field,
    node: outer.node,
    get parts() {
      return items.flatMap((item) => item.parts);
    },
    read: () => (items.length || field.default !== undefined ? items.map((item) => readAll(item.parts)) : undefined),
    write(value) {
      items = [];
      rows.replaceChildren();
      ((value === undefined ? field.default : value) ?? []).forEach(put);
    },
    blame(path, message) {
      const item = items[path[0]];
      return (item && blamePart(item.parts, path.slice(1), message)) ?? outer.blame(message, add);
    },
  };
}
