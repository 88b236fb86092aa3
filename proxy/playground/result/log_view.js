// Log of a job.
import { byId, el } from "../dom.js";

export class LogView {
  #section = byId("logs");
  #lines = byId("log-lines");
  #count = byId("log-count");
  #logged = new Set();

  clear() {
    this.#section.hidden = true;
    this.#logged.clear();
    this.#lines.replaceChildren();
  }

  add(entries) {
    // Entries are a sliding window of time (fal's API), so neither their number nor their place tells which are new.
    const name = (entry) => `${entry.timestamp} ${entry.message}`;
    const added = entries.filter((entry) => !this.#logged.has(name(entry)));
    for (const entry of added) this.#logged.add(name(entry));
    if (!added.length) return;
    this.#section.hidden = false;
    this.#count.textContent = String(this.#logged.size);
    this.#lines.append(...added.map(logLine));
  }
}

const logLine = (entry) =>
  el(
    "p",
    { class: entry.level === "ERROR" ? "bad" : null },
    el("time", { text: clock(entry.timestamp) }),
    el("span", { text: entry.message }),
  );

function clock(timestamp) {
  const date = new Date(timestamp);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(11, 23);
}
