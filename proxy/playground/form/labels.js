// Labels of fields, values and list items.

const PRESETS = {
  square_hd: "Square HD",
  square: "Square",
  portrait_4_3: "Portrait 4:3",
  portrait_16_9: "Portrait 16:9",
  landscape_4_3: "Landscape 4:3",
  landscape_16_9: "Landscape 16:9",
};
const WRITTEN = {
  url: "URL",
  urls: "URLs",
  id: "ID",
  lora: "LoRA",
  loras: "LoRAs",
  cfg: "CFG",
  fps: "FPS",
  nsfw: "NSFW",
  hd: "HD",
};
// Names of formats are values, not words.
const FORMATS = new Set(["jpeg", "webp", "webm", "flac", "opus", "none"]);

/** Returns the text of a choice: a value as it is, or a word of four letters and more with a capital. */
export function valueLabel(value) {
  if (value === null) return "None";
  const text = String(value);
  if (PRESETS[text]) return PRESETS[text];
  if (!/^[a-z]{4,}(_[a-z]+)*$|^[a-z]+(_[a-z]+)+$/.test(text) || (FORMATS.has(text) && text !== "none")) return text;
  return sentence(text.replaceAll("_", " "));
}

/** Returns the label of a field: the title of its schema, or its name in words. */
export function fieldLabel(name, title) {
  const words = (title ?? name.replaceAll("_", " ")).split(" ").map((word) => WRITTEN[word.toLowerCase()] ?? word);
  return title ? words.join(" ") : sentence(words.join(" "));
}

/** Returns a class name of a schema in words: `LoraWeight` as "LoRA weight". */
export function itemName(title) {
  const words = title
    .replaceAll("_", " ")
    .replace(/([a-z0-9])([A-Z])/g, "$1 $2")
    .split(" ");
  return words
    .map((word) => WRITTEN[word.toLowerCase()] ?? (/^[A-Z][a-z]/.test(word) ? word.toLowerCase() : word))
    .join(" ");
}

const sentence = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);
