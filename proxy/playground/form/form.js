// Form of one endpoint: built from its schema, read as input, errors shown field by field.
import { createControl } from "./field_factory.js";
import { changed, readAll, touch, writeAll } from "./field_wrapper.js";
import { accepts } from "./file_kinds.js";
import { el } from "../dom.js";
import { fieldLabel } from "./labels.js";
import { fits, layout } from "./schema.js";

export class Form {
  #visible;
  #hidden;
  #controls;
  #holder;
  #count = el("span", { class: "count" });
  #more;

  /** Fills *holder* with the fields of *schema*. */
  constructor(schema, holder) {
    const { visible, advanced } = layout(schema);
    this.#holder = holder;
    this.#visible = visible.map(createControl);
    this.#hidden = advanced.map(createControl);
    this.#controls = [...this.#visible, ...this.#hidden];
    this.#more = el("details", { class: "advanced" }, el("summary", {}, "Advanced", this.#count));
    this.#more.append(el("div", { class: "advanced-in" }, ...this.#hidden.map((control) => control.node)));
    holder.replaceChildren(
      ...this.#visible.map((control) => control.node),
      ...(this.#hidden.length ? [this.#more] : []),
    );
    // Assigned, not added: the next form takes the same holder.
    holder.oninput = holder.onchange = () => this.#countHidden();
  }

  #countHidden() {
    const set = this.#hidden.filter(changed).length;
    this.#count.textContent = set ? `${set} set` : "";
  }

  /** Returns the input as it is to be sent; Files stay Files. NaN stands for text that is no number. */
  read() {
    return readAll(this.#controls);
  }

  write(values) {
    writeAll(this.#controls, values);
    touch(this.#holder);
  }

  /** Sets those of *values*, set in another form, that fit a field of this one. */
  adopt(values) {
    const fitting = this.#controls.filter(({ field }) => field.name in values && fits(field, values[field.name]));
    for (const control of fitting) control.write(values[control.field.name]);
    touch(this.#holder);
  }

  /** Sets one field and leaves the others. Returns whether the form has it. */
  set(name, value) {
    const control = this.control(name);
    control?.write(value);
    if (control) touch(control.node);
    return Boolean(control);
  }

  /** True where every required field has a value. */
  get complete() {
    return this.#controls.every((control) => !control.field.required || control.read() !== undefined);
  }

  control(name) {
    return this.#controls.find((each) => each.field.name === name);
  }

  get controls() {
    return this.#controls;
  }

  /**
   * Returns the control that a file of *type* goes to: the focused one, an empty one, or the first that accepts it.
   * Without a type, as of a link, each control accepts it.
   */
  fileControl(type = "") {
    const files = this.#controls.filter(
      ({ field }) => ["file", "files"].includes(field.kind) && (!type || accepts(field.media, type)),
    );
    const focused = files.find(({ node }) => node.contains(document.activeElement));
    const empty = files.find((control) => control.field.kind === "files" || control.read() === undefined);
    return focused ?? empty ?? files[0];
  }

  /** Removes all errors. */
  clearErrors() {
    for (const control of this.#controls) control.blame([], "");
    for (const node of this.#holder.querySelectorAll(".error")) node.textContent = "";
    for (const node of this.#holder.querySelectorAll(".wrong")) node.classList.remove("wrong");
    for (const node of this.#holder.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
  }

  /** Shows *message* at the field of *loc*. Returns the element to focus and the field's label, or null. */
  blame(loc, message) {
    const control = this.control(loc[0]);
    if (!control) return null;
    if (this.#hidden.includes(control)) this.#more.open = true;
    const steps = loc.slice(1).map((step) => (typeof step === "number" ? String(step + 1) : fieldLabel(step)));
    return {
      target: control.blame(loc.slice(1), message),
      label: [control.field.label, ...steps].join(", "),
    };
  }
}

/** Returns the places of NaN in *value*, as lists of names and indexes. */
export function wrongNumbers(value, loc = []) {
  if (Number.isNaN(value)) return [loc];
  if (!value || typeof value !== "object" || value instanceof Blob) return [];
  return Object.entries(value).flatMap(([name, item]) =>
    wrongNumbers(item, [...loc, Array.isArray(value) ? Number(name) : name]),
  );
}
