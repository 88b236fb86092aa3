// Results since the page was opened, newest first. Nothing is stored.
import { el } from "./dom.js";

const KEPT = 24;

export function createHistory(section, list, { onpick }) {
  const entries = [];
  let shown = null;

  function draw() {
    section.hidden = entries.length === 0;
    list.replaceChildren(
      ...entries.map((entry) =>
        el(
          "li",
          {},
          el(
            "button",
            {
              type: "button",
              "aria-pressed": String(entry === shown),
              "aria-label": `Show again: ${entry.input.prompt ?? entry.endpoint}, seed ${entry.result.seed ?? "unknown"}`,
              onclick: () => {
                shown = entry;
                draw();
                list.querySelector('[aria-pressed="true"]').focus();
                onpick(entry);
              },
            },
            el("img", { src: entry.result.images[0].url, alt: "", loading: "lazy" }),
          ),
        ),
      ),
    );
  }

  return {
    add(entry) {
      entries.unshift(entry);
      entries.length = Math.min(entries.length, KEPT);
      shown = entry;
      draw();
    },
    clear() {
      entries.length = 0;
      draw();
    },
  };
}
