// Tiles of a result: video, audio, other files, texts, and files on hosts that the page may not show.
import { action, announce, copyText, el, formatBytes, icon } from "../dom.js";
import { canFetch, canShow } from "../hosts.js";

export function createTile(item) {
  if (item.kind === "text") return textTile(item);
  if (!canShow(item.url) && item.kind !== "file" && item.kind !== "model") return hiddenTile(item);
  return { video: videoTile, audio: audioTile }[item.kind]?.(item) ?? fileTile(item);
}

function videoTile(item) {
  const video = el("video", { src: item.url, controls: true, preload: "metadata", playsinline: true, loop: true });
  video.setAttribute("aria-label", `Video: ${item.name}`);
  return el("div", { class: "tile tile-video" }, video, caption(item));
}

function audioTile(item) {
  const audio = el("audio", {
    src: item.url,
    controls: true,
    preload: "metadata",
    "aria-label": `Audio: ${item.name}`,
  });
  return el("div", { class: "tile tile-audio" }, audio, caption(item));
}

const fileTile = (item) =>
  el("div", { class: "tile tile-file" }, el("span", { class: "tile-face" }, icon(item.kind, 22)), caption(item));

function hiddenTile(item) {
  const host = new URL(item.url, location.href).host;
  return el(
    "div",
    { class: "tile tile-hidden" },
    el("p", { text: `This ${item.kind} is on ${host}, which this page may not show.` }),
    el("code", { class: "address", text: item.url }),
    el(
      "p",
      { class: "hint" },
      "The operator can allow it in ",
      el("code", { text: "[playground] picture_hosts" }),
      ".",
    ),
    fileActions(item),
  );
}

function textTile({ name, text }) {
  const body = el("p", { class: "text-body", text });
  const copy = action("copy", "Copy", () => copyText(text, copy, body));
  return el("div", { class: "tile tile-text" }, el("div", { class: "tile-head" }, el("b", { text: name }), copy), body);
}

function caption(item) {
  const facts = [item.type, item.size && formatBytes(item.size), item.width && `${item.width} × ${item.height}`];
  const text = el("span", { class: "drop-text" }, el("b", { class: "drop-title", text: item.name }));
  text.append(el("small", { text: facts.filter(Boolean).join(" · ") }));
  return el("div", { class: "caption" }, text, fileActions(item));
}

/** Returns the buttons of a file: open, copy its link, download. *more* come first. */
export function fileActions(item, more = []) {
  const open = el("a", { class: "quiet with-icon", href: item.url, target: "_blank", rel: "noopener noreferrer" });
  open.append(icon("open", 16), el("span", { text: "Open" }));
  const copy = action("link", "Copy link", () => copyText(item.url, copy));
  const save = action("download", "Download", () => download(item));
  // A browser opens no data URI in a tab of its own.
  const own = item.url.startsWith("data:") ? [save] : [open, copy, save];
  return el("div", { class: "actions" }, ...more, ...own);
}

async function download(item) {
  if (!canFetch(item.url)) {
    el("a", { href: item.url, target: "_blank", rel: "noopener noreferrer" }).click();
    return;
  }
  const response = await fetch(item.url);
  const link = el("a", { href: URL.createObjectURL(await response.blob()), download: item.saveAs ?? item.name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  announce(`Saved as ${link.download}`);
}
