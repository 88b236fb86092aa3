// Files in an input: made part of the request as data URIs, or left out.
import { el } from "../dom.js";

/** Returns *value* with each File as a data URI of at most *limit* characters. Images are made smaller to fit. */
export async function inlineFiles(value, limit) {
  if (value instanceof Blob) return asDataUri(value, limit);
  if (Array.isArray(value)) return Promise.all(value.map((item) => inlineFiles(item, limit)));
  if (!value || typeof value !== "object") return value;
  const entries = Object.entries(value).map(async ([name, item]) => [name, await inlineFiles(item, limit)]);
  return Object.fromEntries(await Promise.all(entries));
}

/** Returns *value* with each File replaced by *replacement*; undefined leaves it out. */
export function replaceFiles(value, replacement) {
  if (value instanceof Blob) return replacement;
  if (Array.isArray(value))
    return value.map((item) => replaceFiles(item, replacement)).filter((item) => item !== undefined);
  if (!value || typeof value !== "object") return value;
  const entries = Object.entries(value).map(([name, item]) => [name, replaceFiles(item, replacement)]);
  return Object.fromEntries(entries.filter(([, item]) => item !== undefined));
}

async function asDataUri(file, limit) {
  const uri = await readDataUri(file);
  if (uri.length <= limit) return uri;
  if (!file.type.startsWith("image/")) throw new Error("This file is too large to be sent with the request.");
  const bitmap = await createImageBitmap(file);
  for (const side of [2048, 1536, 1024, 768]) {
    const smaller = scaled(bitmap, Math.min(1, side / Math.max(bitmap.width, bitmap.height)));
    if (smaller.length <= limit) return smaller;
  }
  throw new Error("This image is too large to be sent with the request, even at 768 pixels.");
}

function scaled(bitmap, scale) {
  const canvas = el("canvas", { width: Math.round(bitmap.width * scale), height: Math.round(bitmap.height * scale) });
  canvas.getContext("2d").drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  return canvas.toDataURL("image/jpeg", 0.9);
}

const readDataUri = (file) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = () => reject(reader.error);
    reader.readAsDataURL(file);
  });
