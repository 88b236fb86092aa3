// Numbers: a box, with a slider beside it where the range is small enough for one.
import { el, icon } from "../dom.js";
import { simple, touch } from "./field_wrapper.js";

export function numberControl(field) {
  const input = numberInput(field);
  const slider = field.kind === "range" && createSlider(field, input);
  const write = (value) => {
    input.value = (value === undefined ? field.default : value) ?? "";
    slider?.follow?.();
  };
  // Text that is no number is an error; it must not count as an empty field.
  const read = () => (input.validity.badInput ? NaN : input.value === "" ? emptyValue(field) : Number(input.value));
  const control = simple(field, input, read, write);
  if (slider) placeSlider(control, field, slider, write);
  if (field.name === "seed") placeDice(input, write);
  return control;
}

const emptyValue = (field) => (field.nullable && field.default !== undefined ? null : undefined);

const numberInput = (field) =>
  el("input", {
    type: "number",
    class: "number",
    inputmode: field.integer ? "numeric" : "decimal",
    step: field.integer ? 1 : "any",
    min: field.min,
    max: field.max,
    placeholder: placeholder(field),
    autocomplete: "off",
  });

function placeholder(field) {
  if (field.name === "seed") return "random";
  if (field.default !== undefined) return field.nullable ? "none" : String(field.default);
  return field.required ? null : "not set";
}

function createSlider({ label, min, max, step, default: preset }, input) {
  const slider = el("input", { type: "range", min, max, step, "aria-label": `${label}, slider` });
  slider.follow = () => {
    const unset = input.value === "" && preset === undefined;
    slider.value = input.value === "" ? (preset ?? min) : input.value;
    slider.style.setProperty("--part", String((slider.value - min) / (max - min)));
    slider.classList.toggle("unset", unset);
    if (unset) slider.setAttribute("aria-valuetext", "not set");
    else slider.removeAttribute("aria-valuetext");
  };
  slider.addEventListener("input", () => {
    input.value = slider.value;
    slider.follow();
  });
  input.addEventListener("input", slider.follow);
  return slider;
}

function placeSlider(control, field, slider, write) {
  const { input, node } = control;
  node.classList.add("slides");
  const row = el("div", { class: "slide" });
  input.before(row);
  row.append(slider, input);
  if (field.required || field.default !== undefined) return;
  const clear = el("button", { type: "button", class: "quiet square", "aria-label": `Clear ${field.label}` });
  clear.append(icon("close", 16));
  clear.addEventListener("click", () => {
    write(undefined);
    input.focus();
    touch(input);
  });
  row.classList.add("clearable");
  row.append(clear);
}

function placeDice(input, write) {
  const roll = el("button", { type: "button", class: "quiet with-icon" }, icon("dice"), el("span", { text: "Random" }));
  roll.addEventListener("click", () => {
    write(Math.floor(Math.random() * 2 ** 32));
    touch(input);
  });
  const row = el("div", { class: "pair" });
  input.before(row);
  row.append(input, roll);
}
