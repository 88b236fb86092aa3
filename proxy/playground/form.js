// Form of one endpoint: built from its schema, read as input, errors shown field by field.
import { createControl } from "./field_factory.js";
import { readAll, same, touch, writeAll } from "./field_wrapper.js";
import { el } from "./dom.js";
import { layout, labelText } from "./schema.js";

/** Fills *holder* with the fields of *schema*. */
export function createForm(schema, holder) {
  const { sight, advanced } = layout(schema);
  const inSight = sight.map(createControl);
  const hidden = advanced.map(createControl);
  const controls = [...inSight, ...hidden];
  const count = el("span", { class: "count" });
  const more = el(
    "details",
    { class: "advanced" },
    el("summary", {}, "Advanced", count),
    el("div", { class: "advanced-in" }, ...hidden.map((c) => c.node)),
  );
  holder.replaceChildren(...inSight.map((control) => control.node), ...(hidden.length ? [more] : []));

  const changed = (control) => {
    const value = control.read();
    return (
      value !== undefined && !same(value, control.field.default) && !(control.field.kind === "list" && !value.length)
    );
  };
  const countHidden = () => {
    const set = hidden.filter(changed).length;
    count.textContent = set ? `${set} set` : "";
  };
  holder.addEventListener("input", countHidden);
  holder.addEventListener("change", countHidden);

  const pictures = controls.filter((control) => control.field.kind === "picture");

  return {
    /** The input as it stands, Files in it as they are. NaN stands for a number that is none. */
    read: () => readAll(controls, { keep: (control) => control.field.required && control.field.default === undefined }),
    write(values) {
      writeAll(controls, values);
      touch(holder);
    },
    /** Sets one field and leaves the others. */
    set(name, value) {
      const control = controls.find((each) => each.field.name === name);
      if (!control) return false;
      control.write(value);
      touch(control.node);
      return true;
    },
    picture: () => pictures[0],
    clear: () => controls.forEach((control) => wipe(control)),
    /** Shows *message* at the field that *loc* (fal's, without `body`) leads to; the element to focus, if there is one. */
    blame(loc, message) {
      const control = controls.find((each) => each.field.name === loc[0]);
      if (!control) return null;
      if (hidden.includes(control)) more.open = true;
      const steps = loc.slice(1).map((step) => (typeof step === "number" ? String(step + 1) : labelText(step)));
      return {
        target: control.blame(loc.slice(1), message),
        label: [control.field.label, ...steps].join(", "),
      };
    },
  };
}

function wipe(control) {
  control.blame([], "");
  for (const part of control.parts ?? []) wipe(part);
  for (const node of control.node.querySelectorAll(".error")) node.textContent = "";
  for (const node of control.node.querySelectorAll(".wrong")) node.classList.remove("wrong");
  for (const node of control.node.querySelectorAll("[aria-invalid]")) node.removeAttribute("aria-invalid");
}
