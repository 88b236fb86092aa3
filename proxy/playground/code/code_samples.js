// Code samples of the current request: JavaScript, Python and curl.
import { el } from "../dom.js";

/**
 * Languages of the samples. *state*: `{origin, prefix, endpoint, input, uploads, cookie}`; a File in *input* becomes the
 * reading of a file.
 */
export const LANGUAGES = [
  { id: "js", name: "JavaScript", write: javascript },
  { id: "python", name: "Python", write: python },
  { id: "curl", name: "curl", write: curl },
];

function javascript({ origin, prefix, endpoint, input, uploads, cookie }) {
  const files = [];
  const literal = literalText(input, 1, {
    file: (file) => `file${files.push(file)}`,
    key: (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name)),
    word: JSON.stringify,
  });
  const session = cookie
    ? "not needed in a page of this origin: its cookie is the session"
    : "your user's token, never a fal key";
  return [
    ...(files.length ? [`import { readFile } from "node:fs/promises";`] : []),
    `import { createFalClient } from "@fal-ai/client";`,
    "",
    `const fal = createFalClient({`,
    `  proxyUrl: { url: "${origin}${prefix}/proxy", when: "always" },`,
    `  credentials: process.env.SESSION_TOKEN, // ${session}`,
    `});`,
    ...(files.length && uploads ? [`// A File or Blob in the input is uploaded first.`] : []),
    ...files.map((file, place) => readInJavascript(file.name, `file${place + 1}`, uploads)),
    `const result = await fal.subscribe("${endpoint}", {`,
    `  input: ${literal},`,
    `  logs: true,`,
    `  onQueueUpdate: (update) => console.log(update.status),`,
    `});`,
    `console.log(result.data, result.requestId);`,
  ].join("\n");
}

function readInJavascript(name, variable, uploads) {
  const type = mediaType(name);
  const bytes = `await readFile(${JSON.stringify(name)})`;
  if (uploads) return `const ${variable} = new Blob([${bytes}], { type: "${type}" });`;
  return `const ${variable} = "data:${type};base64," + (${bytes}).toString("base64");`;
}

function python({ origin, prefix, endpoint, input }) {
  const host = origin.replace(/^https?:\/\//, "") + prefix;
  const literal = literalText(input, 1, {
    file: (file) => `fal_client.encode_file(${JSON.stringify(file.name)})`,
    key: JSON.stringify,
    step: "    ",
    word: (value) => ({ true: "True", false: "False", null: "None" })[String(value)] ?? JSON.stringify(value),
  });
  return [
    "import os",
    "",
    `os.environ["FAL_QUEUE_RUN_HOST"] = "${host}/queue"`,
    `os.environ["FAL_KEY"] = os.environ["SESSION_TOKEN"]  # your user's token, never a fal key`,
    "",
    "import fal_client",
    ...(origin.startsWith("http:") ? plainHttp(origin + prefix) : []),
    "",
    `result = fal_client.subscribe(`,
    `    "${endpoint}",`,
    `    arguments=${literal},`,
    `    with_logs=True,`,
    `    on_queue_update=print,`,
    `)`,
    `print(result)`,
  ].join("\n");
}

// fal_client knows https only; over plain http, as on this machine, its address is set by hand.
const plainHttp = (base) => [
  "import fal_client.client",
  "",
  "# Over plain http only: the client itself insists on https.",
  `fal_client.client.QUEUE_URL_FORMAT = "${base}/queue/"`,
];

const FILE_MARK = "@FILE@";

function curl({ origin, prefix, endpoint, input }) {
  const files = [];
  const literal = literalText(input, 0, {
    file: (file) => {
      files.push(file.name);
      return `"data:${mediaType(file.name)};base64,${FILE_MARK}"`;
    },
    key: JSON.stringify,
    word: JSON.stringify,
  });
  return [
    ...(files.length ? [pipedBody(literal, files)] : []),
    `curl ${origin}${prefix}/queue/${endpoint} \\`,
    `  -H "Authorization: Bearer $SESSION_TOKEN" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d ${files.length ? "@-" : shellQuote(literal)}`,
    "",
    `# The answer names status_url, response_url and cancel_url; ask them with the same Authorization.`,
  ].join("\n");
}

const shellQuote = (part) => `'${part.replaceAll("'", `'\\''`)}'`;

/** Returns a command that writes the body. A file does not fit on a command line, so the body is piped. */
function pipedBody(literal, files) {
  const printed = literal.split(FILE_MARK).map((part) => `printf %s ${shellQuote(part)}`);
  const encoded = files.map((name) => `base64 < ${shellQuote(name)} | tr -d '\\n'`);
  const commands = printed.flatMap((command, place) => (place ? [encoded[place - 1], command] : [command]));
  return `{ ${commands.join("; ")}; } |`;
}

const MEDIA_TYPES = {
  png: "image/png",
  webp: "image/webp",
  gif: "image/gif",
  bmp: "image/bmp",
  jpg: "image/jpeg",
  jpeg: "image/jpeg",
  mp4: "video/mp4",
  webm: "video/webm",
  mov: "video/quicktime",
  mp3: "audio/mpeg",
  wav: "audio/wav",
  ogg: "audio/ogg",
  flac: "audio/flac",
};

const mediaType = (name) => MEDIA_TYPES[name.split(".").at(-1).toLowerCase()] ?? "application/octet-stream";

/** Returns *value* as source text. *style* has writers for a file, a key and a plain value, and the indentation. */
function literalText(value, depth, style) {
  const outer = (style.step ?? "  ").repeat(depth);
  const inner = outer + (style.step ?? "  ");
  if (value instanceof File) return style.file(value);
  if (Array.isArray(value)) return `[${value.map((item) => literalText(item, depth, style)).join(", ")}]`;
  if (value && typeof value === "object") {
    const members = Object.entries(value).map(
      ([name, item]) => `${style.key(name)}: ${literalText(item, depth + 1, style)}`,
    );
    if (!members.length) return "{}";
    if (members.length <= 2 && depth > 1) return `{ ${members.join(", ")} }`;
    return `{\n${inner}${members.join(`,\n${inner}`)}\n${outer}}`;
  }
  return style.word(Number.isNaN(value) ? null : value);
}

const TOKENS =
  /(\/\/[^\n]*|#[^\n]*)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|\b(import|from|const|await|new|async|print|True|False|None|true|false|null|curl|printf)\b|(-?\b\d+(?:\.\d+)?\b)/g;
const TOKEN_KINDS = ["comment", "string", "word", "number"];

/** Returns *source* as nodes, its strings, words and comments marked for colour. */
export function highlight(source) {
  const nodes = [];
  let last = 0;
  for (const match of source.matchAll(TOKENS)) {
    nodes.push(source.slice(last, match.index));
    const kind = TOKEN_KINDS[match.slice(1).findIndex((group) => group !== undefined)];
    nodes.push(el("span", { class: `t-${kind}`, text: match[0] }));
    last = match.index + match[0].length;
  }
  nodes.push(source.slice(last));
  return nodes;
}
