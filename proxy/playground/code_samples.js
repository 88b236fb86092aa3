// Code samples of the current request: JavaScript, Python and curl.
import { el } from "./dom.js";

/** *state*: `{origin, prefix, endpoint, input, uploads, cookie}`; a File in *input* becomes the reading of a file. */
export const LANGUAGES = [
  { id: "js", name: "JavaScript", write: javascript },
  { id: "python", name: "Python", write: python },
  { id: "curl", name: "curl", write: curl },
];

function javascript({ origin, prefix, endpoint, input, uploads, cookie }) {
  const reads = [];
  const literal = text(input, 1, {
    file: (file) => {
      reads.push(file.name);
      return uploads ? "picture" : "pictureUri";
    },
    key: (name) => (/^[A-Za-z_$][\w$]*$/.test(name) ? name : JSON.stringify(name)),
    word: JSON.stringify,
  });
  const picture = reads.length
    ? uploads
      ? [
          `// A File or Blob in the input is uploaded first.`,
          `const picture = new Blob([await readFile(${JSON.stringify(reads[0])})], { type: "${mediaOf(reads[0])}" });`,
        ]
      : [
          `const pictureUri = "data:${mediaOf(reads[0])};base64," + (await readFile(${JSON.stringify(reads[0])})).toString("base64");`,
        ]
    : [];
  return [
    ...(reads.length ? [`import { readFile } from "node:fs/promises";`] : []),
    `import { createFalClient } from "@fal-ai/client";`,
    "",
    `const fal = createFalClient({`,
    `  proxyUrl: { url: "${origin}${prefix}/proxy", when: "always" },`,
    `  credentials: process.env.SESSION_TOKEN, // ${cookie ? "not needed in a page of this origin: its cookie is the session" : "your user's token, never a fal key"}`,
    `});`,
    ...picture,
    `const result = await fal.subscribe("${endpoint}", {`,
    `  input: ${literal},`,
    `  logs: true,`,
    `  onQueueUpdate: (update) => console.log(update.status),`,
    `});`,
    `console.log(result.data, result.requestId);`,
  ].join("\n");
}

function python({ origin, prefix, endpoint, input }) {
  const host = origin.replace(/^https?:\/\//, "") + prefix;
  const literal = text(input, 1, {
    file: (file) => `fal_client.encode_file(${JSON.stringify(file.name)})`,
    key: JSON.stringify,
    step: "    ",
    word: (value) => ({ true: "True", false: "False", null: "None" })[String(value)] ?? JSON.stringify(value),
  });
  // fal_client knows https only; over plain http, as on this machine, its address is set by hand.
  const plain = origin.startsWith("http:")
    ? [
        "import fal_client.client",
        "",
        "# Over plain http only: the client itself insists on https.",
        `fal_client.client.QUEUE_URL_FORMAT = "${origin}${prefix}/queue/"`,
      ]
    : [];
  return [
    "import os",
    "",
    `os.environ["FAL_QUEUE_RUN_HOST"] = "${host}/queue"`,
    `os.environ["FAL_KEY"] = os.environ["SESSION_TOKEN"]  # your user's token, never a fal key`,
    "",
    "import fal_client",
    ...plain,
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

function curl({ origin, prefix, endpoint, input }) {
  let file = null;
  const literal = text(input, 0, {
    file: (picked) => {
      file = picked.name;
      return `"data:${mediaOf(picked.name)};base64,@PICTURE@"`;
    },
    key: JSON.stringify,
    word: JSON.stringify,
  });
  const quote = (part) => `'${part.replaceAll("'", `'\\''`)}'`;
  // A picture does not fit on a command line, so a body with one is piped.
  const [start, end] = literal.split("@PICTURE@");
  const piped = file && [
    `{ printf %s ${quote(start)}; base64 < ${quote(file)} | tr -d '\\n'; printf %s ${quote(end)}; } |`,
  ];
  return [
    ...(piped || []),
    `curl ${origin}${prefix}/queue/${endpoint} \\`,
    `  -H "Authorization: Bearer $SESSION_TOKEN" \\`,
    `  -H "Content-Type: application/json" \\`,
    `  -d ${piped ? "@-" : quote(literal)}`,
    "",
    `# The answer names status_url, response_url and cancel_url; ask them with the same Authorization.`,
  ].join("\n");
}

function mediaOf(name) {
  const ending = name.split(".").at(-1).toLowerCase();
  return { png: "image/png", webp: "image/webp", gif: "image/gif", bmp: "image/bmp" }[ending] ?? "image/jpeg";
}

/** *value* written out, *style* says how a file, a key and a plain value are, and how far a level goes in. */
function text(value, depth, style) {
  const outer = (style.step ?? "  ").repeat(depth);
  const inner = outer + (style.step ?? "  ");
  if (value instanceof File) return style.file(value);
  if (Array.isArray(value)) return `[${value.map((item) => text(item, depth, style)).join(", ")}]`;
  if (value && typeof value === "object") {
    const members = Object.entries(value).map(([name, item]) => `${style.key(name)}: ${text(item, depth + 1, style)}`);
    if (!members.length) return "{}";
    if (members.length <= 2 && depth > 1) return `{ ${members.join(", ")} }`;
    return `{\n${inner}${members.join(`,\n${inner}`)}\n${outer}}`;
  }
  return style.word(Number.isNaN(value) ? null : value);
}

const TOKENS =
  /(\/\/[^\n]*|#[^\n]*)|("(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')|\b(import|from|const|await|new|async|print|True|False|None|true|false|null|curl|printf)\b|(-?\b\d+(?:\.\d+)?\b)/g;
const KINDS = ["comment", "string", "word", "number"];

/** *source* as nodes, its strings, words and comments marked for colour. */
export function highlight(source) {
  const nodes = [];
  let last = 0;
  for (const match of source.matchAll(TOKENS)) {
    nodes.push(source.slice(last, match.index));
    const kind = KINDS[match.slice(1).findIndex((group) => group !== undefined)];
    nodes.push(el("span", { class: `t-${kind}`, text: match[0] }));
    last = match.index + match[0].length;
  }
  nodes.push(source.slice(last));
  return nodes;
}
