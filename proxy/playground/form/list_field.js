// Objects and lists of objects: rows of fields that are added and removed.
import { el, icon } from "../dom.js";
import { itemName } from "./labels.js";
import { FieldFrame, readAll, touch, writeAll } from "./field_wrapper.js";

const FIRST_INPUT = "input, textarea, select";

const addButton = (name, onclick) =>
  el(
    "button",
    { type: "button", class: "quiet with-icon", onclick },
    icon("plus", 16),
    el("span", { text: `Add ${name}` }),
  );

const removeButton = (name, onclick) =>
  el(
    "button",
    { type: "button", class: "quiet square", "aria-label": `Remove this ${name}`, onclick },
    icon("close", 16),
  );

const blamePart = (parts, path, message) =>
  parts.find((part) => part.field.name === path[0])?.blame(path.slice(1), message);

/** Control of one object. An optional one without a default has no value until it is added. */
export class ObjectControl {
  #outer;
  #createControl;
  #fixed;
  #name;
  #holder;
  #add;
  #parts = null;

  constructor(field, createControl) {
    this.field = field;
    this.#createControl = createControl;
    this.#outer = new FieldFrame(field, { group: true });
    this.#fixed = field.required || field.default !== undefined;
    this.#name = itemName(field.label);
    this.#holder = el("div", { class: this.#fixed ? "nested" : "row", role: "group" });
    this.#holder.setAttribute("aria-labelledby", this.#outer.labelledBy);
    this.#add = addButton(this.#name, () => this.#addByUser());
    this.#outer.hold(this.#holder, this.#add);
    this.#outer.node.tabIndex = -1;
  }

  get node() {
    return this.#outer.node;
  }

  #addByUser() {
    this.#open();
    this.#holder.querySelector(FIRST_INPUT)?.focus();
    touch(this.#holder);
  }

  #removeByUser() {
    this.#close();
    this.#add.focus();
    touch(this.node);
  }

  #open() {
    this.#parts = this.field.fields.map(this.#createControl);
    const remove = this.#fixed ? [] : [removeButton(this.#name, () => this.#removeByUser())];
    this.#holder.replaceChildren(...remove, ...this.#parts.map((part) => part.node));
    this.#holder.hidden = false;
    this.#add.hidden = true;
  }

  #close() {
    this.#parts = null;
    this.#holder.replaceChildren();
    this.#holder.hidden = true;
    this.#add.hidden = false;
  }

  read() {
    return this.#parts ? readAll(this.#parts) : undefined;
  }

  write(value) {
    const next = value === undefined ? this.field.default : value;
    if (!next && !this.#fixed) return this.#close();
    this.#open();
    writeAll(this.#parts, next ?? {});
  }

  blame(path, message) {
    const target = this.#parts ? this.node : this.#add;
    return blamePart(this.#parts ?? [], path, message) ?? this.#outer.blame(message, target);
  }
}

/** Control of a list of objects, one below the other. */
export class ListControl {
  #outer;
  #createControl;
  #rows = el("div", { class: "rows" });
  #add;
  #items = []; // {parts, node}

  constructor(field, createControl) {
    this.field = field;
    this.#createControl = createControl;
    this.#outer = new FieldFrame(field, { group: true });
    this.#add = addButton(field.itemName, () => this.#addByUser());
    this.#outer.hold(this.#rows, this.#add);
  }

  get node() {
    return this.#outer.node;
  }

  #addByUser() {
    this.#put();
    this.#items.at(-1).node.querySelector(FIRST_INPUT)?.focus();
    touch(this.#rows);
  }

  #put(value) {
    const { itemName: name, item } = this.field;
    const parts = item.map(this.#createControl);
    const node = el("div", { class: "row", role: "group", "aria-label": `${name} ${this.#items.length + 1}` });
    const added = { parts, node };
    node.append(
      removeButton(name, () => this.#removeByUser(added)),
      ...parts.map((part) => part.node),
    );
    this.#items.push(added);
    this.#rows.append(node);
    if (value) writeAll(parts, value);
  }

  #removeByUser(item) {
    this.#items = this.#items.filter((other) => other !== item);
    item.node.remove();
    this.#add.focus();
    touch(this.#rows);
  }

  read() {
    const empty = !this.#items.length && this.field.default === undefined;
    return empty ? undefined : this.#items.map((item) => readAll(item.parts));
  }

  write(value) {
    this.#items = [];
    this.#rows.replaceChildren();
    ((value === undefined ? this.field.default : value) ?? []).forEach((each) => this.#put(each));
  }

  blame(path, message) {
    const item = this.#items[path[0]];
    const target = item && blamePart(item.parts, path.slice(1), message);
    return target ?? this.#outer.blame(message, this.#add);
  }
}
