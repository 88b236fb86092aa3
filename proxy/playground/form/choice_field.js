// One of several: side by side, in a list, or as the sizes of a picture.
import { el, newId, svg } from "../dom.js";
import { FieldFrame, readAll, simple, writeAll } from "./field_wrapper.js";
import { numberControl } from "./number_field.js";

// fal docs, image_size: what each preset means in pixels.
const PIXELS = {
  square_hd: [1024, 1024],
  square: [512, 512],
  portrait_4_3: [768, 1024],
  portrait_16_9: [576, 1024],
  landscape_4_3: [1024, 768],
  landscape_16_9: [1024, 576],
};

// The value of an option as text: empty for the option without a value.
const encode = (value) => (value === undefined ? "" : JSON.stringify(value));
const decode = (text) => (text ? JSON.parse(text) : undefined);

/** Radio buttons that look like one switch, or a list where there are many. */
export function choiceControl(field) {
  if (field.segmented) return radios(field, "segments", ({ label }) => [el("span", { text: label })]);
  const blank = field.options.some(({ value }) => value === undefined)
    ? []
    : [{ value: undefined, label: "Select one" }];
  const placeholder = field.default === undefined ? blank : [];
  const options = [...placeholder, ...field.options].map(({ value, label }) =>
    el("option", { value: encode(value), text: label }),
  );
  const select = el("select", {}, ...options);
  const write = (value) => (select.value = encode(value === undefined ? field.default : value));
  return simple(field, select, () => decode(select.value), write);
}

function radios(field, look, faces) {
  const outer = new FieldFrame(field, { group: true });
  const name = newId("choice");
  const inputs = field.options.map(({ value }) => el("input", { type: "radio", name, value: encode(value) }));
  const labels = field.options.map((option, place) =>
    el("label", {}, inputs[place], el("span", { class: "face" }, ...faces(option))),
  );
  const group = el("div", { role: "radiogroup", class: look }, ...labels);
  group.setAttribute("aria-labelledby", outer.labelledBy);
  group.setAttribute("aria-describedby", outer.describedBy);
  outer.hold(group);
  const selected = () => inputs.find((input) => input.checked);
  return {
    field,
    node: outer.node,
    outer,
    group,
    inputs,
    read: () => decode(selected()?.value),
    write(value) {
      const text = encode(value === undefined ? field.default : value);
      for (const input of inputs) input.checked = input.value === text;
    },
    blame(_, message) {
      outer.blame(message, group);
      return selected() ?? inputs[0];
    },
  };
}

/** The size presets as little frames of their shape, and a custom width and height. */
export function sizeControl(field) {
  const custom = "custom size";
  const control = radios(
    { ...field, options: [...field.options, { value: custom, label: "Custom" }] },
    "sizes",
    sizeFace,
  );
  const sides = field.custom.map((side) => createSide(side));
  const row = el("div", { class: "sides", role: "group", "aria-label": "Custom size", hidden: true });
  row.append(...sides.map((side) => side.node));
  control.group.after(row);
  const isCustom = () => control.inputs.at(-1).checked;
  const follow = () => (row.hidden = !isCustom());
  control.group.addEventListener("change", follow);
  const { read, write, blame } = control;
  control.read = () => (isCustom() ? readAll(sides) : read());
  control.write = (value) => {
    const next = value === undefined ? field.default : value;
    const object = next && typeof next === "object";
    write(object ? custom : next);
    if (object) writeAll(sides, next);
    follow();
  };
  control.blame = (path, message) => {
    const side = isCustom() && sides.find((each) => each.field.name === path[0]);
    return side ? side.blame(path.slice(1), message) : blame(path, message);
  };
  control.parts = sides;
  return control;
}

function createSide(side) {
  const control = numberControl(side);
  control.write(side.default);
  return control;
}

const sizeFace = ({ value, label }) => [
  shape(PIXELS[value]),
  el("span", { class: "size-name", text: label }),
  el("span", { class: "size-pixels", text: PIXELS[value]?.join(" × ") ?? "" }),
];

function shape(pixels) {
  if (!pixels) return svg(22, ["path", { d: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5" }]);
  const [width, height] = pixels.map((side) => (side / Math.max(...pixels)) * (pixels[0] === 512 ? 11 : 17));
  return svg(22, ["rect", { x: 12 - width / 2, y: 12 - height / 2, width, height, rx: 1.5 }]);
}
