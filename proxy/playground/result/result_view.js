// Result view: progress of a job, its result as preview and as JSON, its facts, and the explanation of an error.
import { action, byId, el, icon } from "../dom.js";
import { canShow } from "../hosts.js";
import { credits } from "../job/error_messages.js";
import { ProgressLine } from "../job/progress_line.js";
import { Tabs } from "../tabs.js";
import { createComparison } from "./before_after.js";
import { drawJson } from "./json_view.js";
import { LogView } from "./log_view.js";
import { outputKind, resultItems } from "./result_items.js";
import { createTile, fileActions } from "./result_tiles.js";
import { TroubleBox } from "./trouble_box.js";

const EMPTY = {
  image: "Fill in the form and press Run to make an image.",
  video: "Fill in the form and press Run to make a video.",
  audio: "Fill in the form and press Run to make audio.",
  text: "Fill in the form and press Run to get a text.",
  model: "Fill in the form and press Run to make a 3D model.",
};

export class ResultView {
  progress = new ProgressLine(byId("line"));
  trouble = new TroubleBox(byId("trouble"));
  logs = new LogView();
  #canvas = byId("canvas");
  #facts = byId("facts");
  #views = byId("views");
  #tabs;
  #on;
  #endpoint = null;
  #shown = null; // the entry on show
  #earlier = null; // the one before the job that runs, to come back to after an error

  /**
   * Connects the view. *on*: `reuseSeed(seed)`, `useAsInput(url)`, `openForm(entry)` for another endpoint than the form's.
   * *takes(kind)*: true where the form takes such a file.
   */
  constructor({ on, takes }) {
    this.#on = { ...on, takes };
    this.#tabs = new Tabs(byId("view-tabs"), [
      { id: "preview", name: "Preview", panel: this.#canvas },
      { id: "json", name: "JSON", panel: byId("json") },
    ]);
  }

  get shown() {
    return this.#shown;
  }

  /** Shows what an endpoint makes, and nothing of an earlier job. */
  idle(endpoint, preview = null) {
    this.#endpoint = endpoint;
    this.#shown = null;
    this.#earlier = null;
    this.trouble.clear();
    this.logs.clear();
    this.#nameModel(null);
    this.#drawIdle(preview);
  }

  /** Names the endpoint of *entry* where it is not that of the form, and offers its form. */
  #nameModel(entry) {
    const other = entry && entry.endpoint !== this.#endpoint?.id;
    byId("of-model").hidden = !other;
    if (!other) return;
    const open = el("button", { type: "button", class: "link", text: "Open its form" });
    open.addEventListener("click", () => this.#on.openForm(entry));
    byId("of-model").replaceChildren("A job of ", el("code", { text: entry.endpoint }), " ", open);
  }

  /** Explains a request that made no result, where no job is on show or after it. *onSteps* leads to the gateway's steps. */
  explain(description, onSteps) {
    if (!this.#shown) this.#drawIdle(null, "This request made no result.");
    else this.#markEarlier();
    this.trouble.show({ ...description, calm: true }, { onSteps });
  }

  #drawIdle(preview, text = null) {
    this.progress.hide();
    this.#facts.hidden = true;
    this.#views.classList.add("off");
    this.#tabs.select("preview");
    this.#canvas.className = "canvas empty";
    const kind = outputKind(this.#endpoint);
    const empty = [
      el("div", { class: "empty-mark" }, icon(kind || "file", 36)),
      el("p", { text: text ?? EMPTY[kind] ?? "Fill in the form and press Run." }),
    ];
    const image = preview && el("img", { class: "waiting", src: preview, alt: "The image that goes in" });
    this.#canvas.replaceChildren(...(image ? [image] : empty));
  }

  /** Shows the image that will go in, where no result is on show. */
  preview(src) {
    if (!this.#shown) this.#drawIdle(src);
  }

  begin(entry) {
    const { preview } = entry;
    this.trouble.clear();
    this.#nameModel(entry);
    this.logs.clear();
    this.#earlier = this.#shown ?? this.#earlier;
    this.#shown = null;
    this.#drawIdle(preview, "The model runs. Its result appears here.");
    this.#canvas.classList.add("busy");
    this.progress.begin();
    const box = this.#canvas.getBoundingClientRect();
    if (box.top < 0 || box.top > innerHeight / 2) this.#canvas.scrollIntoView({ block: "center" });
  }

  /** Ends the progress of a job without a result. An earlier result comes back, without its progress, or *text*. */
  fail(text = null) {
    this.#canvas.classList.remove("busy");
    if (this.#earlier && !this.#shown) {
      this.show(this.#earlier);
      this.#markEarlier();
    } else if (!this.#shown && !this.#canvas.querySelector(".waiting")) this.#drawIdle(null, text);
    this.progress.hide();
  }

  #markEarlier() {
    if (!this.#canvas.querySelector(".earlier"))
      this.#canvas.prepend(el("p", { class: "earlier", text: "Earlier result" }));
  }

  show(entry) {
    this.trouble.clear();
    this.#shown = entry;
    this.#nameModel(entry);
    this.progress.end(entry.took);
    this.#views.classList.remove("off");
    this.#tabs.select("preview");
    this.#canvas.className = "canvas";
    drawJson(byId("json"), entry.result);
    const items = resultItems(entry.result, entry);
    const images = items.filter((item) => item.kind === "image" && canShow(item.url));
    const tiles = items.filter((item) => !images.includes(item)).map(createTile);
    const stage = el("div", { class: "pictures" });
    this.#canvas.replaceChildren(...(images.length ? [stage] : []), ...tiles);
    if (!items.length) this.#tabs.select("json");
    if (images.length) this.#pick(entry, images, 0, stage);
    else this.#drawFacts(entry, null);
  }

  #pick(entry, images, place, stage) {
    const image = images[place];
    const prompt = entry.input.prompt ?? entry.endpoint;
    const alt = `Result${images.length > 1 ? ` ${place + 1} of ${images.length}` : ""}: ${prompt}`;
    const { width, height } = image;
    const before = images.length === entry.result.images?.length || images.length === 1 ? entry.preview : null;
    const blacked = entry.result.has_nsfw_concepts?.[place];
    stage.replaceChildren(
      createComparison({ before, after: image.url, alt, width, height }),
      ...(images.length > 1 ? [this.#tray(entry, images, place, stage)] : []),
      ...(blacked ? [el("p", { class: "notice", text: "The safety checker has blacked this image out." })] : []),
    );
    this.#drawFacts(entry, { ...image, saveAs: fileName(entry, image) });
  }

  #tray(entry, images, selected, stage) {
    const buttons = images.map((image, place) => {
      const thumb = el("img", { src: image.url, alt: "" });
      const props = { type: "button", "aria-label": `Image ${place + 1}`, "aria-pressed": String(place === selected) };
      const button = el("button", props, thumb);
      button.addEventListener("click", () => {
        this.#pick(entry, images, place, stage);
        stage.querySelectorAll(".tray button")[place].focus();
      });
      return button;
    });
    return el("div", { class: "tray", role: "group", "aria-label": "Images of this run" }, ...buttons);
  }

  #drawFacts(entry, image) {
    const { seed } = entry.result ?? {};
    const known = seed !== undefined && seed !== null;
    const reuse = known ? [action("again", "Reuse seed", () => this.#on.reuseSeed(seed))] : [];
    const asInput =
      image && this.#on.takes("image") ? [action("input", "Use as input", () => this.#on.useAsInput(image.url))] : [];
    this.#facts.hidden = false;
    const list = el("dl", { id: "fact-list" }, ...factRows(entry, image, known ? seed : null));
    const plain = el("div", { class: "actions" }, ...reuse);
    this.#facts.replaceChildren(list, image ? fileActions(image, [...reuse, ...asInput]) : plain);
  }

  /** Writes what the job cost, once it is known. */
  setPrice(entry) {
    if (entry !== this.#shown || byId("fact-price") || typeof entry.price !== "number") return;
    byId("fact-list")?.append(priceRow(entry.price));
  }
}

const factRows = (entry, image, seed) => [
  ...(seed === null ? [] : [factRow("Seed", el("code", { id: "seed-shown", text: String(seed) }))]),
  ...(image?.width ? [factRow("Size", `${image.width} × ${image.height}`)] : []),
  factRow("Model", el("code", { text: entry.endpoint })),
  ...(entry.took?.total === null ? [factRow("Times", "not measured in this page")] : []),
  ...(entry.requestId ? [factRow("Job", jobId(entry.requestId))] : []),
  ...(typeof entry.price === "number" ? [priceRow(entry.price)] : []),
];

const jobId = (id) =>
  el("code", { class: "job-id", title: id, text: id.length > 20 ? `${id.slice(0, 8)}…${id.slice(-6)}` : id });

const factRow = (name, value) => el("div", {}, el("dt", { text: name }), el("dd", {}, value));

function priceRow(price) {
  const row = factRow("Cost", credits(price));
  row.id = "fact-price";
  return row;
}

function fileName(entry, image) {
  const stem = (entry.input.prompt ?? "image")
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, "-")
    .slice(0, 40);
  return `${stem}-${entry.result.seed ?? "x"}.${image.type.split("/")[1] ?? "jpg"}`;
}
