// Numbers: a box, with a slider beside it where the range is small enough for one.
import { el, icon } from "./dom.js";
import { simple, touch } from "./field_wrapper.js";

export function numberControl(field) {
  const { min, max, step, integer } = field;
  const input = el("input", {
    type: "number",
    class: "number",
    inputmode: integer ? "numeric" : "decimal",
    step: integer ? 1 : "any",
    min,
    max,
    placeholder: field.name === "seed" ? "random" : null,
    autocomplete: "off",
  });
  const write = (value) => {
    input.value = value ?? "";
    follow();
  };
  // Text that is no number is an error; it must not count as an empty field.
  const read = () => (input.validity.badInput ? NaN : input.value === "" ? undefined : Number(input.value));
  const slider =
    field.kind === "range" && el("input", { type: "range", min, max, step, "aria-label": `${field.label}, slider` });
  const follow = () => {
    if (!slider) return;
    slider.value = input.value;
    slider.style.setProperty("--part", String((slider.value - min) / (max - min)));
  };
  const control = simple(field, input, read, write);
  if (slider) {
    control.node.classList.add("slides");
    const row = el("div", { class: "slide" });
    input.before(row);
    row.append(slider, input);
    slider.addEventListener("input", () => {
      input.value = slider.value;
      follow();
    });
    input.addEventListener("input", follow);
  }
  if (field.name === "seed") {
    const roll = el(
      "button",
      {
        type: "button",
        class: "quiet with-icon",
        onclick: () => {
          write(Math.floor(Math.random() * 2 ** 32));
          touch(input);
        },
      },
      icon("dice"),
      el("span", { text: "Pick one" }),
    );
    const row = el("div", { class: "pair" });
    input.before(row);
    row.append(input, roll);
  }
  write(field.default);
  return control;
}
