// Bar charts over time, drawn as SVG. Each has its figures in its label too.

import { el } from "../playground/dom.js";
import { count, minutes, plural, units } from "./format.js";

const SPACE = "http://www.w3.org/2000/svg";
const WIDTH = 600;
const HEIGHT = 120;

function shape(tag, attributes, ...children) {
  const node = document.createElementNS(SPACE, tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

/** *layers* are {kind, values}, drawn on each other from the bottom up; *describe* returns the text of a bar. */
function drawBars(layers, top, label, describe) {
  const number = layers[0].values.length;
  const pitch = WIDTH / number;
  const picture = shape("svg", {
    viewBox: `0 0 ${WIDTH} ${HEIGHT}`,
    preserveAspectRatio: "none",
    class: "bars",
    role: "img",
    "aria-label": label,
  });
  for (let index = 0; index < number; index += 1) {
    const column = shape("g", {}, shape("title", {}, describe(index)));
    column.append(shape("rect", { x: index * pitch, y: 0, width: pitch, height: HEIGHT, class: "hit" }));
    let base = HEIGHT;
    for (const { kind, values } of layers) {
      if (values[index] === 0) continue;
      // A few refusals among thousands of requests must still be seen.
      const height = Math.max(1.5, (values[index] / top) * HEIGHT);
      base -= height;
      column.append(shape("rect", { x: index * pitch + pitch * 0.1, y: base, width: pitch * 0.8, height, class: kind }));
    }
    picture.append(column);
  }
  return picture;
}

const sum = (values) => values.reduce((total, value) => total + value, 0);
const LAYERS = [
  ["answered", "Answered"],
  ["refused", "Refused"],
  ["failed", "Failed"],
];

function showChart(place, title, figure, legend, picture, bars, top) {
  const head = el("figcaption", { class: "chart-head" }, el("span", { text: title }), el("b", { text: figure }));
  const scale = el("div", { class: "chart-scale", "aria-hidden": "true" });
  const first = bars.end - (bars.answered.length - 1) * bars.step;
  scale.append(el("span", { text: minutes(first) }), el("span", { text: `most ${top}` }), el("span", { text: "now" }));
  place.replaceChildren(head, legend ?? "", picture, scale);
}

/** Shows the requests of *bars* by outcome. */
export function showRequestsChart(place, bars, range) {
  const totals = bars.answered.map((_, index) => sum(LAYERS.map(([kind]) => bars[kind][index])));
  const top = Math.max(1, ...totals);
  const counts = LAYERS.map(([kind, name]) => [kind, name, sum(bars[kind])]);
  const legend = el("ul", { class: "legend" });
  for (const [kind, name, total] of counts) {
    legend.append(el("li", {}, el("i", { class: kind, "aria-hidden": "true" }), `${name} ${count(total)}`));
  }
  const label = `Requests in the ${range}: ${counts.map(([, name, total]) => `${count(total)} ${name.toLowerCase()}`).join(", ")}`;
  const picture = drawBars(LAYERS.map(([kind]) => ({ kind, values: bars[kind] })), top, label, (index) =>
    `${minutes(bars.end - (totals.length - 1 - index) * bars.step)}: ${LAYERS.map(([kind]) => `${bars[kind][index]} ${kind}`).join(", ")}`,
  );
  showChart(place, "Requests", count(sum(totals)), legend, picture, bars, count(top));
}

/** Shows the spend of *bars*: what was reserved or spent in each, less what was given back. */
export function showSpendChart(place, bars, range) {
  const values = bars.committed;
  const top = Math.max(...values) || 1;
  const total = units(sum(values));
  const legend = el("ul", { class: "legend" });
  legend.append(el("li", {}, el("i", { class: "spent", "aria-hidden": "true" }), "Spent and reserved"));
  const label = `Spend in the ${range}: ${total} ${plural(sum(values), "unit").split(" ").pop()}`;
  const picture = drawBars([{ kind: "spent", values }], top, label, (index) =>
    `${minutes(bars.end - (values.length - 1 - index) * bars.step)}: ${units(values[index])} units`,
  );
  showChart(place, "Spend", total, legend, picture, bars, Math.max(...values) ? units(top) : "0");
}
