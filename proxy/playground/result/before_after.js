// Before and after in one frame. The divider is a range input, so arrow keys and screen readers know what to do with it.
import { el, icon } from "../dom.js";

/** Returns a figure of two images. *before* may be null: then there is only one. */
export function createComparison({ before, after, alt, width, height }) {
  const picture = el("img", { class: "after", src: after, alt, width, height });
  const node = el("figure", { class: "compare" }, picture);
  node.style.setProperty("--ratio", String(width && height ? width / height : 1));
  if (!width || !height) picture.addEventListener("load", () => fitRatio(node, picture));
  if (before) addDivider(node, before);
  return node;
}

const fitRatio = (node, { naturalWidth, naturalHeight }) =>
  node.style.setProperty("--ratio", String(naturalWidth / naturalHeight));

function addDivider(node, before) {
  const range = { type: "range", min: 0, max: 100, value: 50, class: "split" };
  const slider = el("input", { ...range, "aria-label": "Before and after" });
  node.append(
    el("img", { class: "before", src: before, alt: "The image that went in" }),
    el("span", { class: "tag left", text: "Before", "aria-hidden": "true" }),
    el("span", { class: "tag right", text: "After", "aria-hidden": "true" }),
    slider,
    el("span", { class: "handle", "aria-hidden": "true" }, icon("arrows", 18)),
  );
  const show = () => {
    node.style.setProperty("--split", `${slider.value}%`);
    slider.setAttribute("aria-valuetext", `${slider.value} % before, ${100 - slider.value} % after`);
    node.classList.toggle("hide-left", slider.value < 12);
    node.classList.toggle("hide-right", slider.value > 88);
  };
  show();
  slider.addEventListener("input", show);
  followPointer(node, slider, show);
}

function followPointer(node, slider, show) {
  const follow = (event) => {
    const box = node.getBoundingClientRect();
    slider.value = String(Math.round(((event.clientX - box.left) / box.width) * 100));
    show();
  };
  node.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    node.setPointerCapture(event.pointerId);
    slider.focus({ preventScroll: true });
    follow(event);
    event.preventDefault();
  });
  node.addEventListener("pointermove", (event) => node.hasPointerCapture(event.pointerId) && follow(event));
}
