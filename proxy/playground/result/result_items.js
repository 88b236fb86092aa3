// Parts of a result that can be shown: files and texts, found by their values. This module does not use the DOM.

const LONG = 80; // characters from which a string is a text of its own
const MOST_ITEMS = 60; // parts that are shown; the rest is in the JSON
const ENDINGS = {
  image: ["png", "jpg", "jpeg", "webp", "gif", "avif", "svg", "bmp"],
  video: ["mp4", "webm", "mov", "m4v", "mkv"],
  audio: ["mp3", "wav", "ogg", "flac", "m4a", "opus", "aac"],
  model: ["glb", "gltf", "obj", "fbx", "ply", "stl", "usdz"],
};

/** Returns the parts of *result* in its order: `{kind, url, name, type, size, width, height}` or `{kind: "text", name, text}`. */
export function resultItems(result, { input = {} } = {}) {
  const items = [];
  collect(result, "", items);
  const echoed = new Set(Object.values(input).filter((value) => typeof value === "string"));
  const first = (item, place) => !item.url || items.findIndex(({ url }) => url === item.url) === place;
  const own = items.filter(first).filter((item) => item.kind !== "text" || !echoed.has(item.text));
  const shown = own.filter((item) => item.kind !== "text" || item.text.length > LONG);
  // Where nothing else is to be shown, a short text is the result.
  return (shown.length ? shown : own.filter((item) => item.text?.trim() && item.top)).slice(0, MOST_ITEMS);
}

function collect(value, path, items) {
  if (typeof value === "string") {
    if (isFileUrl(value)) items.push(fileItem({ url: value }, path));
    else items.push({ kind: "text", name: lastName(path), text: value, top: !/[.[]/.test(path) });
  } else if (Array.isArray(value)) {
    value.forEach((item, place) => collect(item, `${path}[${place}]`, items));
  } else if (value && typeof value === "object") {
    if (typeof value.url === "string" && /^(https?|data|blob):/.test(value.url)) items.push(fileItem(value, path));
    else for (const [name, item] of Object.entries(value)) collect(item, path ? `${path}.${name}` : name, items);
  }
}

const lastName = (path) =>
  path
    .replace(/\[\d+\]/g, "")
    .split(".")
    .at(-1);

const isFileUrl = (text) =>
  /^data:(image|video|audio|model)\//.test(text) || (/^https?:\/\/\S+$/.test(text) && ending(text) !== "");

function fileItem({ url, content_type: type, file_name: fileName, file_size: size, width, height }, path) {
  const media = type ?? /^data:([^;,]+)/.exec(url)?.[1] ?? "";
  const name =
    fileName ?? (url.startsWith("data:") ? lastName(path) : decodeURIComponent(url.split(/[?#]/)[0].split("/").at(-1)));
  return { kind: kindOfFile(media, url), url, name: name || lastName(path), type: media, size, width, height, path };
}

function kindOfFile(media, url) {
  const known = ["image", "video", "audio", "model"].find((kind) => media.startsWith(`${kind}/`));
  return known ?? Object.keys(ENDINGS).find((kind) => ENDINGS[kind].includes(ending(url))) ?? "file";
}

const ending = (url) => (/\.([a-z0-9]{2,5})$/i.exec(url.split(/[?#]/)[0].split("/").at(-1))?.[1] ?? "").toLowerCase();

/** Returns the kind of media that an output schema describes, "" where it is not known. */
export function outputKind(endpoint) {
  const names = Object.keys(endpoint?.output?.properties ?? {}).join(" ");
  if (/video/.test(names)) return "video";
  if (/audio/.test(names)) return "audio";
  if (/mesh|model|glb/.test(names)) return "model";
  if (/image/.test(names)) return "image";
  return /text|output/.test(names) ? "text" : "";
}
