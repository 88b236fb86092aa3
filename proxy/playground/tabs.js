// Tabs by the ARIA pattern: one stop for Tab, arrow keys move between them.
import { el } from "./dom.js";

/**
 * Fills *list* with a tab for each of *items*, `{id, name, panel}`. *onSelect(id)* is called after each change.
 * Several tabs may share a panel; a panel is shown while one of its tabs is selected.
 */
export class Tabs {
  #items;
  #onSelect;
  selected;

  constructor(list, items, onSelect = () => {}) {
    this.#items = items.map((item) => ({ ...item, tab: this.#createTab(item) }));
    this.#onSelect = onSelect;
    list.setAttribute("role", "tablist");
    list.replaceChildren(...this.#items.map(({ tab }) => tab));
    list.addEventListener("keydown", (event) => this.#onKey(event));
    this.select(items[0].id);
  }

  #createTab({ id, name, panel }) {
    panel.setAttribute("role", "tabpanel");
    return el("button", {
      type: "button",
      role: "tab",
      id: `tab-${id}`,
      "aria-controls": panel.id,
      text: name,
      onclick: () => this.select(id, { focus: true }),
    });
  }

  select(id, { focus = false } = {}) {
    this.selected = id;
    const active = this.#items.find((item) => item.id === id);
    for (const { id: each, tab, panel } of this.#items) {
      tab.setAttribute("aria-selected", String(each === id));
      tab.tabIndex = each === id ? 0 : -1;
      panel.hidden = panel !== active.panel;
    }
    active.panel.setAttribute("aria-labelledby", active.tab.id);
    if (focus) active.tab.focus();
    this.#onSelect(id);
  }

  #onKey(event) {
    const place = this.#items.findIndex((item) => item.id === this.selected);
    const last = this.#items.length - 1;
    const to = {
      ArrowRight: place === last ? 0 : place + 1,
      ArrowLeft: place === 0 ? last : place - 1,
      Home: 0,
      End: last,
    }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    event.stopPropagation();
    this.select(this.#items[to].id, { focus: true });
  }
}
