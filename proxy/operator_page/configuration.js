// The effective configuration, read when the page opens and after each reload.

import { byId, el } from "../playground/dom.js";

export class ConfigurationView {
  constructor(address) {
    this.address = address;
    this.generation = null;
    byId("only-set").addEventListener("change", () => this.show());
  }

  async update({ reload }) {
    if (reload.generation === this.generation) return;
    const response = await fetch(this.address, { cache: "no-store" });
    if (!response.ok) return;
    this.tables = await response.json();
    this.generation = reload.generation;
    this.show();
  }

  show() {
    if (!this.tables) return;
    const onlySet = byId("only-set").checked;
    const shown = this.tables
      .map(({ table, keys }) => ({ table, keys: keys.filter((key) => !onlySet || !key.default) }))
      .filter(({ keys }) => keys.length);
    byId("configuration").replaceChildren(...shown.map((one) => configurationTable(one)));
  }
}

function configurationTable({ table, keys }) {
  const list = el("dl");
  for (const { key, value, default: isDefault } of keys) {
    const shown = el("dd", {}, el("code", { text: literal(value) }));
    if (isDefault) shown.append(el("span", { class: "hint", text: " default" }));
    list.append(el("div", {}, el("dt", {}, el("code", { text: key })), shown));
  }
  return el("div", { class: "config-table" }, el("h3", {}, el("code", { text: table })), list);
}

/** A value as the file would have it. */
function literal(value) {
  if (value === null) return "not set";
  if (Array.isArray(value)) return `[${value.map(literal).join(", ")}]`;
  if (typeof value === "object") return `{ ${Object.entries(value).map(([name, inner]) => `${name} = ${literal(inner)}`).join(", ")} }`;
  return typeof value === "string" ? JSON.stringify(value) : String(value);
}
