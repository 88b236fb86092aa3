// A result as JSON: wrapped lines, its URLs as links.
import { action, copyText, el } from "../dom.js";

const URLS = /"(https?:\/\/[^"\s]+)"/g;

/** Fills *holder* with *value* as JSON text. */
export function drawJson(holder, value) {
  const text = JSON.stringify(value, null, 2);
  const code = el("pre", { class: "raw", tabindex: "0" }, ...linked(text));
  const copy = action("copy", "Copy JSON", () => copyText(text, copy, code));
  holder.replaceChildren(el("div", { class: "json-head" }, copy), code);
}

function linked(text) {
  const nodes = [];
  let last = 0;
  for (const match of text.matchAll(URLS)) {
    nodes.push(text.slice(last, match.index + 1));
    nodes.push(el("a", { href: match[1], target: "_blank", rel: "noopener noreferrer", text: match[1] }));
    last = match.index + match[0].length - 1;
  }
  nodes.push(text.slice(last));
  return nodes;
}
