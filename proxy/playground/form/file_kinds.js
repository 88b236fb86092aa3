// Recognition of strings that are addresses of files, and of their media. This module does not use the DOM.

const ADDRESS = /(^|_)(image|img|mask|video|audio)s?(_data)?(_urls?)?$|_urls?$/;
// Addresses that are not files of the user.
const NOT_A_FILE = /webhook|callback|website|page_url|repo|^(return|enable|use|is)_/;
const BY_NAME = [
  [/video/, "video"],
  [/audio|voice|music|sound|speech/, "audio"],
  [/archive|training|(images|videos)_data/, ""],
  [/image|img|mask|photo|picture|frame|face/, "image"],
];

/** Returns "image", "video", "audio", "" for any file, or null where a string of this name and schema is no file. */
export function fileMedia(name, schema) {
  const address = schema["x-fal-file-input"] || (ADDRESS.test(name) && !NOT_A_FILE.test(name));
  if (!address || schema.enum) return null;
  const widget = schema._fal_ui_field ?? schema.ui?.field;
  if (widget) return ["image", "video", "audio"].includes(widget) ? widget : "";
  return BY_NAME.find(([pattern]) => pattern.test(name))?.[1] ?? "";
}

/** Returns true where a file of *type* (a media type) may go into a field of *media*. */
export const accepts = (media, type) => !media || type.startsWith(`${media}/`);

export const mediaNoun = (media) =>
  ({ image: "an image", video: "a video", audio: "an audio file" })[media] ?? "a file";
