// Creation of elements. Text is always inserted as text, never as HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element; *props* are attributes (true: empty, false or null: none), listeners (`onclick`) and `text`. */
export function el(tag, props = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(props)) {
    if (value === false || value === null || value === undefined) continue;
    if (name === "text") node.textContent = value;
    else if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false && child !== ""));
  return node;
}

export const byId = (id) => document.getElementById(id);

export function svg(size, ...shapes) {
  const node = document.createElementNS(SVG, "svg");
  node.setAttribute("viewBox", "0 0 24 24");
  node.setAttribute("width", size);
  node.setAttribute("height", size);
  node.setAttribute("aria-hidden", "true");
  for (const [tag, attributes] of shapes) {
    const shape = document.createElementNS(SVG, tag);
    for (const [name, value] of Object.entries(attributes)) shape.setAttribute(name, value);
    node.append(shape);
  }
  return node;
}

const PATHS = {
  image: "M4 5h16v14H4zM4 16l4.5-4.5 4 4 2.5-2.5 5 5M15.5 9.5h.01",
  video: "M4 6h16v12H4zM10 9.5v5l4.5-2.5z",
  audio: "M5 10v4M9 6v12M13 8.5v7M17 4v16M21 10v4",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  text: "M5 6h14M5 10h14M5 14h14M5 18h8",
  model: "M12 3l8 4.5v9L12 21l-8-4.5v-9zM12 12l8-4.5M12 12v9M12 12L4 7.5",
  info: "M12 11v5M12 8h.01",
  close: "M6 6l12 12M18 6L6 18",
  check: "M5 12.5l4.5 4.5L19 7.5",
  copy: "M9 9h11v11H9zM5 15H4V4h11v1",
  open: "M14 4h6v6M20 4l-9 9M18 14v6H4V6h6",
  link: "M10 14a4 4 0 0 0 6 .5l3-3a4 4 0 0 0-6-6l-1 1M14 10a4 4 0 0 0-6-.5l-3 3a4 4 0 0 0 6 6l1-1",
  download: "M12 4v11M7.5 10.5L12 15l4.5-4.5M5 20h14",
  again: "M5 12a7 7 0 1 0 2.2-5.1M5 4v4h4",
  plus: "M12 5v14M5 12h14",
  dice: "M5 5h14v14H5zM9 9h.01M15 15h.01M15 9h.01M9 15h.01M12 12h.01",
  arrows: "M8 8l-4 4 4 4M16 8l4 4-4 4",
  input: "M4 12h11M11 8l4 4-4 4M20 4v16",
};

export const icon = (name, size = 18) =>
  svg(size, ...(name === "info" ? [["circle", { cx: 12, cy: 12, r: 8.5 }]] : []), ["path", { d: PATHS[name] }]);

/** A quiet button with a symbol and a text. */
export const action = (symbol, text, onclick) =>
  el("button", { type: "button", class: "quiet with-icon", onclick }, icon(symbol, 16), el("span", { text }));

/** Announces *text* to a screen reader without moving the focus. */
export function announce(text) {
  byId("announcer").textContent = text;
}

let made = 0;
export const newId = (stem) => `${stem}-${++made}`;

export const seconds = (milliseconds) => `${(milliseconds / 1000).toFixed(1)} s`;

export const formatBytes = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** Copies *text* and shows so on *button* for a moment. *source* is selected where the browser forbids the clipboard. */
export async function copyText(text, button, source = null) {
  const label = button.querySelector("span") ?? button;
  const before = label.textContent;
  try {
    await navigator.clipboard.writeText(text);
    label.textContent = "Copied";
    announce("Copied");
    setTimeout(() => (label.textContent = before), 1600);
  } catch {
    if (source) getSelection().selectAllChildren(source);
    announce(source ? "The text is selected; copy it from there" : "The browser does not allow copying");
  }
}
