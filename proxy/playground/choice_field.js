// One of several: side by side, in a list, or as the sizes of a picture.
import { el, newId, svg } from "./dom.js";
import { frame, readAll, simple, writeAll } from "./field_wrapper.js";
import { numberControl } from "./number_field.js";
import { PRESETS } from "./schema.js";

/** Radio buttons that look like one switch, or a list where there are many. */
export function choiceControl(field) {
  if (!field.segmented) {
    const options = field.options.map(({ value, label }) =>
      el("option", { value: JSON.stringify(value), text: label }),
    );
    const select = el("select", {}, ...options);
    const write = (value) => (select.value = JSON.stringify(value ?? field.options[0].value));
    write(field.default);
    return simple(field, select, () => JSON.parse(select.value), write);
  }
  return radios(field, "segments", ({ label }) => [el("span", { text: label })]);
}

function radios(field, look, faces) {
  const outer = frame(field, { group: true });
  const name = newId("choice");
  const inputs = field.options.map(({ value }) => el("input", { type: "radio", name, value: JSON.stringify(value) }));
  const labels = field.options.map((option, place) =>
    el("label", {}, inputs[place], el("span", { class: "face" }, ...faces(option))),
  );
  const group = el(
    "div",
    {
      role: "radiogroup",
      class: look,
      "aria-labelledby": outer.labelledBy,
      "aria-describedby": outer.describedBy,
    },
    ...labels,
  );
  outer.hold(group);
  const checked = () => inputs.find((input) => input.checked);
  const write = (value) => inputs.forEach((input) => (input.checked = input.value === JSON.stringify(value)));
  write(field.default);
  return {
    field,
    node: outer.node,
    outer,
    group,
    inputs,
    read: () => checked() && JSON.parse(checked().value),
    write,
    blame: (_, message) => {
      outer.blame(message, group);
      return checked() ?? inputs[0];
    },
  };
}

/** The size presets as little frames of their shape, and a width and height of one's own. */
export function sizeControl(field) {
  const custom = Symbol("custom");
  const options = [...field.options, { value: custom.description, label: "Custom" }];
  const control = radios({ ...field, options }, "sizes", ({ value, label }) => [
    shape(PRESETS[value]),
    el("span", { class: "size-name", text: label }),
    el("span", { class: "size-pixels", text: PRESETS[value]?.join(" × ") ?? "" }),
  ]);
  const sides = field.custom.map((side) => numberControl({ ...side, required: false }));
  const row = el(
    "div",
    { class: "sides", role: "group", "aria-label": "Custom size", hidden: true },
    ...sides.map((side) => side.node),
  );
  control.group.after(row);
  const isCustom = () => control.inputs.at(-1).checked;
  const follow = () => (row.hidden = !isCustom());
  control.group.addEventListener("change", follow);
  const { read, write, blame } = control;
  control.read = () => (isCustom() ? readAll(sides, { keep: () => true }) : read());
  control.write = (value) => {
    const preset = typeof value === "string" || value === undefined;
    write(preset ? (value ?? field.default) : custom.description);
    if (!preset) writeAll(sides, value);
    follow();
  };
  control.blame = (path, message) => {
    const side = isCustom() && sides.find((each) => each.field.name === path[0]);
    return side ? side.blame(path.slice(1), message) : blame(path, message);
  };
  control.parts = sides;
  return control;
}

function shape(pixels) {
  if (!pixels) return svg(22, ["path", { d: "M4 9V4h5M15 4h5v5M20 15v5h-5M9 20H4v-5" }]);
  const [width, height] = pixels.map((side) => (side / Math.max(...pixels)) * (pixels[0] === 512 ? 11 : 17));
  return svg(22, ["rect", { x: 12 - width / 2, y: 12 - height / 2, width, height, rx: 1.5 }]);
}
