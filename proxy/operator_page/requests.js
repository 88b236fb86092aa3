// The last requests, and their filter. The filter works in the page: nothing of it is sent.

import { byId, el } from "../playground/dom.js";
import { clock, count, userName, wait } from "./format.js";
import { showTable } from "./tables.js";

const FIRST = { wide: 25, narrow: 10 }; // rows before "Show all"
const NARROW = matchMedia("(max-width: 520px)");
const OUTCOMES = ["answered", "refused", "failed"];

export class RequestList {
  constructor() {
    this.rows = [];
    this.names = {};
    this.showsAll = false;
    NARROW.addEventListener("change", () => this.show());
    byId("filter").addEventListener("input", () => this.show());
    byId("filter").addEventListener("submit", (event) => event.preventDefault());
    byId("filter").addEventListener("reset", () => setTimeout(() => this.show()));
    byId("more").addEventListener("click", () => {
      this.showsAll = true;
      this.show();
    });
  }

  update({ recent, names }) {
    this.rows = recent;
    this.names = names;
    this.offerActions();
    this.show();
  }

  /** Adds the operations that were not there before; the chosen one stays. */
  offerActions() {
    const select = byId("filter-action");
    const known = new Set([...select.options].map((option) => option.value));
    for (const action of new Set(this.rows.map((row) => row.action))) {
      if (!known.has(action)) select.append(el("option", { value: action, text: action }));
    }
  }

  matching() {
    const text = byId("filter-text").value.trim().toLowerCase();
    const kind = document.querySelector("[name=kind]:checked").value;
    const action = byId("filter-action").value;
    return this.rows.filter(
      (row) =>
        (kind === "" || row.kind === Number(kind)) &&
        (action === "" || row.action === action) &&
        (text === "" || this.words(row).includes(text)),
    );
  }

  words(row) {
    const user = this.names[row.user];
    const parts = [row.reason, row.error_type, row.endpoint, row.user, row.request_id, row.outcome, row.status, row.action];
    return [...parts, user?.subject, user?.issuer, row.would_deny].filter(Boolean).join(" ").toLowerCase();
  }

  show() {
    const found = this.matching();
    const rows = this.showsAll ? found : found.slice(0, NARROW.matches ? FIRST.narrow : FIRST.wide);
    setText(byId("shown"), `${count(found.length)} of ${count(this.rows.length)}`);
    byId("more").hidden = rows.length === found.length;
    byId("more").textContent = `Show all ${count(found.length)}`;
    const shown = JSON.stringify([rows, this.names]);
    if (shown === this.shown) return; // a selection in the table stays
    this.shown = shown;
    const empty = this.rows.length ? "No request matches the filter." : "No request so far.";
    showTable(byId("requests"), "Last requests", this.columns(), rows, empty);
  }

  columns() {
    return [
      { title: "Time", kind: "number", value: (row) => clock(row.at) },
      { title: "Status", kind: "status", value: (row) => statusBadge(row) },
      { title: "Operation", value: (row) => (row.action === "none" ? "–" : row.action) },
      { title: "User", kind: "code", value: (row) => userName(row.user, this.names) },
      { title: "Endpoint", kind: "wide endpoint-id", value: (row) => row.endpoint },
      { title: "Reason", kind: "wide reason", value: (row) => reasonOf(row) },
      { title: "fal", kind: "number", value: (row) => wait(row.fal_ms) },
      { title: "Total", kind: "number", value: (row) => wait(row.total_ms) },
      { title: "Request id", kind: "code short", value: (row) => el("span", { title: row.request_id, text: row.request_id.slice(0, 8) }) },
    ];
  }
}

const statusBadge = (row) => el("span", { class: `status-badge ${OUTCOMES[row.kind]}`, text: String(row.status || "–") });

function reasonOf(row) {
  const parts = [row.error_type && el("b", { text: row.error_type }), row.reason && el("span", { text: row.reason })];
  const notes = [row.would_deny && `would be refused by ${row.would_deny}`, row.ended && `stream ended: ${row.ended}`];
  const found = [...parts, ...notes.map((note) => note && el("span", { text: note }))].filter(Boolean);
  return found.length ? el("span", { class: "reasons" }, ...found) : null;
}

/** Changes a live region only where its text changes: a screen reader speaks each change. */
function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
