// File fields: a dropped, picked, pasted or dragged file, its URL, or a sample; one or several.
import { announce, el, formatBytes, icon } from "../dom.js";
import { canShow } from "../hosts.js";
import { FieldFrame } from "./field_wrapper.js";
import { accepts, mediaNoun } from "./file_kinds.js";

const SAMPLES = [
  ["coast", "Lighthouse at dusk"],
  ["dunes", "Dunes at noon"],
  ["ridge", "Ridges by moonlight"],
];
const IMAGE_ENDING = /\.(png|jpe?g|webp|gif|avif)$/i;

/** Control of one file or of a list of files. A value is a File or the text of a URL. */
export class FileControl {
  #entries = []; // {value, title, hint, src}: `src` is a URL of the picture that the page may show, or null
  #several;
  #outer;
  #noun;
  #input;
  #drop;
  #image = el("img", { alt: "", hidden: true });
  #title = el("span", { class: "drop-title" });
  #hint = el("span", { class: "drop-hint" });
  #address;
  #tiles = el("ul", { class: "tiles", hidden: true });
  #clear;

  constructor(field) {
    this.field = field;
    this.#several = field.kind === "files";
    this.#noun = mediaNoun(field.media);
    this.#outer = new FieldFrame(field, { group: true });
    this.#input = this.#createInput();
    this.#drop = this.#createDrop();
    this.#address = this.#createAddress();
    this.#clear = iconButton(`Remove ${this.#noun.replace(/^an? /, "the ")}`, () => this.#remove(this.#entries[0]));
    const samples = field.media === "image" ? [this.#createSamples()] : [];
    this.#outer.hold(
      el("div", { class: "drop-box" }, this.#input, this.#drop, this.#clear),
      this.#tiles,
      el("div", { class: "sources" }, ...samples, this.#address),
    );
    this.#draw();
  }

  get node() {
    return this.#outer.node;
  }

  #createInput() {
    const input = el("input", {
      type: "file",
      id: this.#outer.id,
      accept: this.field.media ? `${this.field.media}/*` : null,
      multiple: this.#several,
      class: "unseen",
      "aria-labelledby": this.#outer.labelledBy,
      "aria-describedby": this.#outer.describedBy,
    });
    input.addEventListener("change", () => this.takeFiles([...input.files]));
    return input;
  }

  #createDrop() {
    const face = el("span", { class: "drop-face" }, icon(this.field.media || "file", 22));
    const text = el("span", { class: "drop-text" }, this.#title, this.#hint);
    return el("label", { class: "drop", for: this.#outer.id }, face, this.#image, text);
  }

  #createSamples() {
    const buttons = SAMPLES.map(([name, alt]) => {
      const thumb = el("img", { src: `/playground/samples/${name}-small.webp`, alt: "", width: 64, height: 48 });
      const button = el("button", { type: "button", class: "sample", "aria-label": `Sample: ${alt}` }, thumb);
      button.addEventListener("click", () => this.#takeSample(name));
      return button;
    });
    return el("div", { class: "samples", role: "group", "aria-label": "Sample images" }, ...buttons);
  }

  #createAddress() {
    const input = el("input", {
      type: "url",
      placeholder: `or paste ${this.field.media === "image" ? "an image" : this.#noun.replace(" file", "")} URL`,
      "aria-label": `${this.field.label}, as a URL`,
      autocomplete: "off",
      spellcheck: "false",
    });
    if (!this.#several) input.addEventListener("input", () => this.#typed(input.value.trim()));
    else {
      input.addEventListener("change", () => this.#addTyped());
      input.addEventListener("keydown", (event) => {
        if (event.key !== "Enter" || event.ctrlKey || event.metaKey) return;
        event.preventDefault();
        this.#addTyped();
      });
    }
    return input;
  }

  /** Takes files that were picked, dropped or pasted. A single field takes the first one. */
  takeFiles(files) {
    const fitting = files.filter((file) => accepts(this.field.media, file.type));
    if (!fitting.length) return this.#outer.blame(`This is not ${this.#noun}.`, this.#input);
    const entries = fitting.map(fileEntry);
    this.#set(this.#several ? [...this.#entries, ...entries] : entries.slice(0, 1));
    announce(`Added: ${entries.map(({ title }) => title).join(", ")}`);
    return this.#input;
  }

  /** Takes what was dragged here: files, or the address of a picture or link of another page. */
  takeTransfer(transfer) {
    const [url] = (transfer.getData("text/uri-list") || "")
      .split(/\r?\n/)
      .filter((line) => /^(https?|data):/.test(line));
    if (transfer.files.length) this.takeFiles([...transfer.files]);
    else if (url) this.add(url);
    else this.takeFiles([]);
  }

  /** Adds the file at *url*, or replaces the one of a single field. */
  add(url) {
    this.#set(this.#several ? [...this.#entries, urlEntry(url)] : [urlEntry(url)]);
    if (!this.#several) this.#address.value = url;
  }

  async #takeSample(name) {
    const response = await fetch(`/playground/samples/${name}.jpg`);
    this.takeFiles([new File([await response.blob()], `${name}.jpg`, { type: "image/jpeg" })]);
  }

  #typed(text) {
    this.#set(text ? [urlEntry(text)] : []);
    this.#address.value = text;
  }

  #addTyped() {
    const text = this.#address.value.trim();
    if (!text) return;
    this.#address.value = "";
    this.add(text);
  }

  #remove(entry) {
    this.#set(this.#entries.filter((other) => other !== entry));
    this.#input.focus();
  }

  #set(entries) {
    for (const { src } of this.#entries)
      if (src?.startsWith("blob:") && !entries.some((entry) => entry.src === src)) URL.revokeObjectURL(src);
    this.#entries = entries;
    this.#input.value = "";
    if (!this.#several && (!entries.length || entries[0].value instanceof File)) this.#address.value = "";
    this.#outer.blame("", this.#input);
    this.#draw();
    this.node.dispatchEvent(new Event("change", { bubbles: true }));
  }

  #draw() {
    const single = this.#several ? undefined : this.#entries[0];
    this.#title.textContent = single?.title ?? `Drop ${this.#several ? "files" : this.#noun} here`;
    this.#hint.textContent = single?.hint ?? "or browse, or paste";
    this.#image.hidden = !single?.src;
    if (single?.src) this.#image.src = single.src;
    this.#drop.classList.toggle("full", Boolean(single?.src));
    this.#clear.hidden = !single;
    this.#tiles.hidden = !this.#several || !this.#entries.length;
    this.#tiles.replaceChildren(...(this.#several ? this.#entries.map((entry) => this.#tile(entry)) : []));
  }

  #tile(entry) {
    const face = entry.src ? el("img", { src: entry.src, alt: "" }) : icon(this.field.media || "file", 20);
    const text = el(
      "span",
      { class: "drop-text" },
      el("span", { text: entry.title }),
      el("small", { text: entry.hint }),
    );
    return el(
      "li",
      {},
      face,
      text,
      iconButton(`Remove ${entry.title}`, () => this.#remove(entry)),
    );
  }

  read() {
    if (!this.#several) return this.#entries[0]?.value;
    const typed = this.#address.value.trim();
    const values = [...this.#entries.map(({ value }) => value), ...(typed ? [typed] : [])];
    return values.length || this.field.default !== undefined ? values : undefined;
  }

  write(value) {
    const next = (value === undefined ? this.field.default : value) ?? [];
    const values = Array.isArray(next) ? next : [next];
    this.#set(values.map((item) => (item instanceof File ? fileEntry(item) : urlEntry(item))));
    if (!this.#several && typeof values[0] === "string") this.#address.value = values[0];
  }

  /** Returns a URL at which the page may show the first picture, or null. */
  preview() {
    return this.#entries[0]?.src ?? null;
  }

  blame(_, message) {
    return this.#outer.blame(message, this.#input);
  }
}

function iconButton(label, onclick) {
  return el("button", { type: "button", class: "quiet square", "aria-label": label, onclick }, icon("close", 16));
}

function fileEntry(file) {
  const src = file.type.startsWith("image/") ? URL.createObjectURL(file) : null;
  return { value: file, title: file.name, hint: formatBytes(file.size), src };
}

function urlEntry(url) {
  const picture = /^data:image\//.test(url) || (IMAGE_ENDING.test(url.split(/[?#]/)[0]) && canShow(url));
  return { value: url, title: "From a URL", hint: String(url).slice(0, 60), src: picture ? url : null };
}
