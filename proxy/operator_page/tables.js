// Tables: rows of cells, as cards in a narrow window. The roles stay when the style makes them cards.

import { el } from "../playground/dom.js";

const NOTHING = "–";

/** Shows *rows* in *place*. A column is {title, value, kind}; value returns a text or a node for a row.
 *  A *dense* table has few columns, and stays a table in a narrow window. */
export function showTable(place, label, columns, rows, empty, dense = false) {
  if (rows.length === 0) {
    place.replaceChildren(el("p", { class: "hint empty", text: empty }));
    return;
  }
  const head = el("tr", { role: "row" }, ...columns.map((column) => headCell(column)));
  const body = rows.map((row) => el("tr", { role: "row" }, ...columns.map((column) => cell(column, row))));
  const table = el("table", { role: "table", class: dense ? "table dense" : "table", "aria-label": label });
  table.append(el("thead", { role: "rowgroup" }, head), el("tbody", { role: "rowgroup" }, ...body));
  place.replaceChildren(table);
}

const headCell = ({ title, kind }) => el("th", { role: "columnheader", scope: "col", class: kind, text: title });

function cell({ title, kind, value }, row) {
  const content = value(row) ?? NOTHING;
  const classes = [kind, content === NOTHING && "nothing"].filter(Boolean).join(" ");
  const node = el("td", { role: "cell", class: classes || null, "data-title": title });
  node.append(content);
  return node;
}

/** A list of names with counts and bars of their share. */
export function showShares(place, rows, empty) {
  if (rows.length === 0) {
    place.replaceChildren(el("p", { class: "hint empty", text: empty }));
    return;
  }
  const most = Math.max(...rows.map((row) => row.amount));
  const list = el("ul", { class: "shares" });
  for (const { name, title, amount, text } of rows) {
    const bar = el("span", { class: "share-bar", "aria-hidden": "true" }, el("i"));
    bar.firstChild.style.setProperty("--part", most ? amount / most : 0);
    list.append(
      el("li", {}, el("span", { class: "share-name", text: name, title }), el("b", { text }), bar),
    );
  }
  place.replaceChildren(list);
}
