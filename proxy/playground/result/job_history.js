// Jobs of the caller, newest first: those of this page with their settings, others as the gateway lists them.
import { el, icon } from "../dom.js";
import { canShow } from "../hosts.js";
import { credits } from "../job/error_messages.js";
import { resultItems } from "./result_items.js";

const MOST_SHOWN = 24;
const STATES = {
  queued: "queued",
  running: "running",
  completed: "done",
  failed: "failed",
  cancelled: "cancelled",
  unknown: "outcome unknown",
};

/** Fills *list*. *on*: `pick(entry)` shows an entry, `reuse(entry)` fills the form with its settings. */
export class JobHistory {
  #section;
  #list;
  #on;
  #entries = [];
  #shown = null;

  constructor(section, list, on) {
    this.#section = section;
    this.#list = list;
    this.#on = on;
  }

  get entries() {
    return this.#entries;
  }

  /** Adds an entry of this page, or replaces the one of the same job, and marks it as the one on show. */
  add(entry) {
    const others = this.#entries.filter((other) => other !== entry && other.requestId !== entry.requestId);
    this.#entries = [entry, ...others].slice(0, MOST_SHOWN);
    this.#shown = entry;
    this.#draw();
  }

  /** Takes the gateway's list of jobs (`GET …/jobs`), and *stored* settings of this tab. */
  merge(jobs, stored) {
    for (const job of jobs) {
      const known = this.#entries.find((entry) => entry.requestId === job.request_id && job.request_id);
      if (known)
        Object.assign(known, { price: job.price ?? known.price, state: known.result ? known.state : endState(job, known) });
      else this.#entries.push(remoteEntry(job, stored));
    }
    this.#entries.sort((a, b) => b.since - a.since);
    this.#entries.length = Math.min(this.#entries.length, MOST_SHOWN);
    this.#draw();
  }

  clear() {
    this.#entries = [];
    this.#shown = null;
    this.#draw();
  }

  #draw() {
    this.#section.hidden = this.#entries.length === 0;
    const focused = this.#list.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    this.#list.replaceChildren(...this.#entries.map((entry, place) => this.#card(entry, place)));
    if (focused) this.#list.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  #card(entry, place) {
    const title = entryTitle(entry);
    const facts = [STATES[entry.state] ?? entry.state, entryTime(entry.since), entryPrice(entry)].filter(Boolean);
    const show = el(
      "button",
      {
        type: "button",
        class: "card-show",
        "data-key": `show-${place}`,
        "aria-pressed": String(entry === this.#shown),
        disabled: !entry.requestId && !entry.result,
        onclick: () => this.#pick(entry),
      },
      thumb(entry),
      el("span", { class: "unseen", text: "Show again: " }),
      el(
        "span",
        { class: "card-text" },
        el("b", { text: title, title: entry.endpoint }),
        el("small", { text: facts.join(" · ") }),
      ),
    );
    const reuse = Object.keys(entry.input).length > 0 && this.#reuseButton(entry, title);
    return el("li", { class: `state-${entry.state}` }, show, reuse);
  }

  #reuseButton(entry, title) {
    const button = el("button", { type: "button", class: "link", onclick: () => this.#on.reuse(entry) });
    button.append("Use these settings", el("span", { class: "unseen", text: ` of: ${title}` }));
    return button;
  }

  #pick(entry) {
    this.#shown = entry;
    this.#draw();
    this.#on.pick(entry);
  }
}

// Where fal does not name a cancellation, the gateway lists a failed job; the tab that cancelled it knows better.
const endState = (job, { state }) => (job.state === "failed" && state === "cancelled" ? state : job.state);

function remoteEntry(job, stored) {
  const own = stored.find((each) => each.requestId === job.request_id);
  return {
    endpoint: job.endpoint,
    requestId: job.request_id,
    state: endState(job, { state: own?.end }),
    price: job.price,
    since: Date.parse(job.created_at),
    input: own?.input ?? {},
    preview: null,
  };
}

function thumb(entry) {
  const items = entry.result ? resultItems(entry.result, entry) : [];
  const image = items.find((item) => item.kind === "image" && canShow(item.url));
  if (image) return el("img", { src: image.url, alt: "", loading: "lazy" });
  return el("span", { class: "card-face" }, icon(items[0]?.kind ?? "file", 20));
}

const entryTitle = ({ input, endpoint }) => String(input.prompt ?? input.text ?? modelName(endpoint)).slice(0, 120);

/** Returns an endpoint's id without its owner: the end is what tells one model from another. */
const modelName = (endpoint) => endpoint.split("/").slice(1).join("/") || endpoint;

const entryTime = (since) =>
  new Intl.DateTimeFormat("en-GB", { hour: "2-digit", minute: "2-digit" }).format(new Date(since));

const entryPrice = ({ price, state }) =>
  typeof price === "number" && !["queued", "running"].includes(state) ? credits(price) : null;
