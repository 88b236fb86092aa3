// Form fields derived from a JSON Schema. This module does not use the DOM.

// fal docs, image_size: what each preset means in pixels.
export const PRESETS = {
  square_hd: [1024, 1024],
  square: [512, 512],
  portrait_4_3: [768, 1024],
  portrait_16_9: [576, 1024],
  landscape_4_3: [1024, 768],
  landscape_16_9: [1024, 576],
};
const SEGMENTS = 4; // up to so many choices stand side by side
const IN_SIGHT = 6; // optional fields outside "Advanced"

/** Every endpoint that can be submitted to: its id, its input schema, and whether its status can be streamed. */
export function parseEndpoints(openapi) {
  const paths = openapi.paths ?? {};
  return Object.entries(paths).flatMap(([path, item]) => {
    const schema = item.post?.requestBody?.content?.["application/json"]?.schema;
    if (!path.startsWith("/queue/") || !schema) return [];
    const id = path.slice("/queue/".length);
    return [{ id, schema, streams: `/queue/${appOf(id)}/requests/{request_id}/status/stream` in paths }];
  });
}

export const parseUploads = (openapi) =>
  Object.keys(openapi.paths ?? {}).some((path) => path.startsWith("/storage/upload/initiate"));

function appOf(endpoint) {
  const parts = endpoint.split("/");
  return parts.slice(0, ["workflows", "comfy"].includes(parts[0]) ? 3 : 2).join("/");
}

/** The fields of an object schema in the order its author gave them, `{sight, advanced}`. */
export function layout(schema) {
  const fields = parseFields(schema);
  const sight = fields.filter((field) => field.required);
  const optional = fields.filter((field) => !field.required);
  const worthy = optional.filter((field) => ["size", "choice", "range", "number"].includes(field.kind));
  const chosen = new Set([...sight, ...worthy.slice(0, IN_SIGHT)]);
  return { sight: fields.filter((f) => chosen.has(f)), advanced: fields.filter((f) => !chosen.has(f)) };
}

export function parseFields(schema) {
  const properties = schema.properties ?? {};
  const order = (schema["x-fal-order-properties"] ?? []).filter((name) => name in properties);
  const names = [...new Set([...order, ...Object.keys(properties)])];
  const required = new Set(schema.required ?? []);
  return names.map((name) => parseField(name, properties[name], required.has(name)));
}

/** One field: `kind` says which control it gets, `default` what it starts with and need not be sent. */
export function parseField(name, schema, required = false) {
  const common = {
    name,
    label: schema.title ?? labelText(name),
    help: schema.description ?? "",
    required,
    default: schema.default,
    example: schema.examples?.[0],
  };
  return { ...common, ...kindOf(name, schema) };
}

function kindOf(name, schema) {
  if ("const" in schema) return { kind: "fixed", value: schema.const };
  const branches = (schema.anyOf ?? schema.oneOf ?? [schema]).filter((branch) => branch.type !== "null");
  const choices = branches.find((branch) => Array.isArray(branch.enum));
  const pair = branches.find((branch) => branch.properties?.width && branch.properties?.height);
  if (choices && pair) return { kind: "size", options: optionsOf(choices), custom: parseFields(pair) };
  // Some enums come twice, as numbers and as their spellings: one of them is enough.
  if (choices) return { kind: "choice", options: optionsOf(choices), segmented: choices.enum.length <= SEGMENTS };
  return plainKind(name, branches[0] ?? schema);
}

function plainKind(name, schema) {
  switch (schema.type) {
    case "boolean":
      return { kind: "switch" };
    case "integer":
    case "number":
      return numberKind(schema);
    case "string":
      if (/(^|_)(image|mask)(_url)?$/.test(name)) return { kind: "picture" };
      return { kind: "text", long: /prompt|text|description/.test(name) };
    case "array":
      if (schema.items?.type === "object" && schema.items.properties)
        return { kind: "list", item: parseFields(schema.items), itemLabel: schema.items.title ?? "Item" };
      if (schema.items?.type === "string") return { kind: "strings" };
      return { kind: "json" };
    case "object":
      if (schema.properties) return { kind: "object", fields: parseFields(schema) };
      return { kind: "json" };
    default:
      return { kind: "json" };
  }
}

function numberKind(schema) {
  const integer = schema.type === "integer";
  const min =
    schema.minimum ?? (integer && schema.exclusiveMinimum !== undefined ? schema.exclusiveMinimum + 1 : undefined);
  const max =
    schema.maximum ?? (integer && schema.exclusiveMaximum !== undefined ? schema.exclusiveMaximum - 1 : undefined);
  const step = schema.multipleOf ?? (integer ? 1 : stepFor(min, max));
  // A slider of thousands of steps cannot be set to any of them.
  const slides = min !== undefined && max !== undefined && (max - min) / step <= 1000;
  return { kind: slides ? "range" : "number", min, max, step, integer };
}

const stepFor = (min, max) => (min !== undefined && max !== undefined && max - min <= 10 ? 0.01 : 0.1);

const optionsOf = (schema) => schema.enum.map((value) => ({ value, label: labelText(String(value)) }));

/** `landscape_16_9` as a person would write it. */
export function labelText(name) {
  if (!/[a-z]/.test(name)) return name;
  const words = name
    .replace(/_(\d+)_(\d+)$/, " $1:$2")
    .replaceAll("_", " ")
    .replace(/\bhd\b/, "HD")
    .replace(/\burl\b/, "URL");
  return /^(jpe?g|png|webp|gif)$/.test(words) ? words.toUpperCase() : words[0].toUpperCase() + words.slice(1);
}
