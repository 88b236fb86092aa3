// Image field: a dropped, picked or pasted file, a URL, or a sample.
import { announce, el, icon } from "./dom.js";

const SAMPLES = [
  ["coast", "Lighthouse at dusk"],
  ["dunes", "Dunes at noon"],
  ["ridge", "Ridges by moonlight"],
];

/** The value is a File, or the text of an address. `preview` is an address the page itself may show, or null. */
export function pictureControl(field, outer) {
  let value;
  let preview = null;

  const file = el("input", {
    type: "file",
    id: outer.id,
    accept: "image/*",
    class: "unseen",
    "aria-labelledby": outer.labelledBy,
    "aria-describedby": outer.describedBy,
    onchange: () => file.files[0] && take(file.files[0]),
  });
  const shown = el("img", { alt: "", hidden: true });
  const title = el("span", { class: "drop-title" });
  const hint = el("span", { class: "drop-hint" });
  const drop = el(
    "label",
    { class: "drop", for: file.id },
    el("span", { class: "drop-face" }, icon("picture", 22)),
    shown,
    el("span", { class: "drop-text" }, title, hint),
  );
  const samples = el(
    "div",
    { class: "samples", role: "group", "aria-label": "Sample pictures" },
    ...SAMPLES.map(([name, alt]) =>
      el(
        "button",
        { type: "button", class: "sample", "aria-label": `Sample: ${alt}`, onclick: () => takeSample(name) },
        el("img", { src: `/playground/samples/${name}.jpg`, alt: "", width: 64, height: 48 }),
      ),
    ),
  );
  const address = el("input", {
    type: "url",
    placeholder: "or the address of a picture",
    "aria-label": `${field.label}, as an address`,
    autocomplete: "off",
    spellcheck: "false",
    oninput: () => setAddress(address.value.trim()),
  });
  const clear = el(
    "button",
    {
      type: "button",
      class: "quiet square",
      "aria-label": "Remove the picture",
      hidden: true,
      onclick: () => {
        set(undefined);
        file.focus();
      },
    },
    icon("close", 16),
  );
  outer.hold(el("div", { class: "drop-box" }, file, drop, clear), el("div", { class: "sources" }, samples, address));
  set(undefined);

  for (const kind of ["dragenter", "dragover"])
    drop.addEventListener(kind, (event) => {
      event.preventDefault();
      drop.classList.add("over");
    });
  for (const kind of ["dragleave", "drop"]) drop.addEventListener(kind, () => drop.classList.remove("over"));
  drop.addEventListener("drop", (event) => {
    event.preventDefault();
    const dropped = [...event.dataTransfer.files].find((each) => each.type.startsWith("image/"));
    if (dropped) take(dropped);
    else outer.blame("That is not a picture.", file);
  });

  function set(
    next,
    { title: name = "Drop a picture here", hint: about = "or choose one, or paste it", src = null } = {},
  ) {
    if (preview?.startsWith("blob:")) URL.revokeObjectURL(preview);
    value = next;
    preview = src;
    title.textContent = name;
    hint.textContent = about;
    shown.hidden = !src;
    if (src) shown.src = src;
    drop.classList.toggle("full", Boolean(src));
    clear.hidden = next === undefined;
    if (next === undefined || next instanceof File) address.value = "";
    if (next === undefined) file.value = "";
    outer.blame("", file);
    outer.node.dispatchEvent(new Event("change", { bubbles: true }));
  }

  function take(picture) {
    set(picture, { title: picture.name, hint: formatBytes(picture.size), src: URL.createObjectURL(picture) });
    announce(`Picture chosen: ${picture.name}`);
  }

  async function takeSample(name) {
    const response = await fetch(`/playground/samples/${name}.jpg`);
    take(new File([await response.blob()], `${name}.jpg`, { type: "image/jpeg" }));
  }

  function setAddress(text) {
    const showable = /^(data:image\/|blob:)/.test(text) ? text : null;
    set(text || undefined, text ? { title: "By its address", hint: text.slice(0, 60), src: showable } : {});
  }

  return {
    field,
    node: outer.node,
    read: () => value,
    preview: () => preview,
    take,
    /** *src*: the same picture as the page may show it. */
    write: (next, src = null) => {
      if (next instanceof File) return take(next);
      address.value = next ?? "";
      return set(next, next ? { title: "By its address", hint: String(next).slice(0, 60), src } : {});
    },
    blame: (_, message) => outer.blame(message, file),
  };
}

export const formatBytes = (bytes) =>
  bytes < 1e6 ? `${Math.max(1, Math.round(bytes / 1e3))} kB` : `${(bytes / 1e6).toFixed(1)} MB`;

/** Makes a File fit into *limit* bytes of a data URI: smaller, as JPEG, only where it must be. */
export async function asDataUri(file, limit) {
  const uri = await read(file);
  if (uri.length <= limit) return uri;
  const bitmap = await createImageBitmap(file);
  for (const side of [2048, 1536, 1024, 768]) {
    const scale = Math.min(1, side / Math.max(bitmap.width, bitmap.height));
    const canvas = el("canvas", {
      width: Math.round(bitmap.width * scale),
      height: Math.round(bitmap.height * scale),
    });
    canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
    const smaller = canvas.toDataURL("image/jpeg", 0.9);
    if (smaller.length <= limit) return smaller;
  }
  throw new Error("This picture is too large to be sent with the request, even at 768 pixels.");
}

const read = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
