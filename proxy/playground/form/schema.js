// Form fields derived from a JSON Schema. This module does not use the DOM.
import { fileMedia } from "./file_kinds.js";
import { fieldLabel, itemName, valueLabel } from "./labels.js";

const SEGMENTS = 4; // up to so many choices stand side by side
const SEGMENT_LETTERS = 34; // and so many letters of them
const VISIBLE_OPTIONAL = 6; // optional fields outside "Advanced"

/** Returns every endpoint that takes a submit: its id, its input schema, its output schema, and its open actions. */
export function parseEndpoints(openapi) {
  const paths = openapi.paths ?? {};
  return Object.entries(paths).flatMap(([path, item]) => {
    const schema = item.post?.requestBody?.content?.["application/json"]?.schema;
    if (!path.startsWith("/queue/") || !schema) return [];
    const id = path.slice("/queue/".length);
    const job = `/queue/${appId(id)}/requests/{request_id}`;
    const output = paths[job]?.get?.responses?.["200"]?.content?.["application/json"]?.schema ?? null;
    return [{ id, schema, output, streams: `${job}/status/stream` in paths }];
  });
}

export const parseUploads = (openapi) =>
  Object.keys(openapi.paths ?? {}).some((path) => path.startsWith("/storage/upload/initiate"));

function appId(endpoint) {
  const parts = endpoint.split("/");
  return parts.slice(0, ["workflows", "comfy"].includes(parts[0]) ? 3 : 2).join("/");
}

/** Returns the fields of an object schema in the order of its author, `{visible, advanced}`. */
export function layout(schema) {
  const fields = parseFields(schema);
  const optional = fields.filter((field) => !field.required);
  const shown = optional.filter((field) => ["size", "choice", "range", "number", "file", "files"].includes(field.kind));
  const visible = new Set([...fields.filter((field) => field.required), ...shown.slice(0, VISIBLE_OPTIONAL)]);
  return { visible: fields.filter((f) => visible.has(f)), advanced: fields.filter((f) => !visible.has(f)) };
}

export function parseFields(schema) {
  const properties = schema.properties ?? {};
  const order = (schema["x-fal-order-properties"] ?? []).filter((name) => name in properties);
  const names = [...new Set([...order, ...Object.keys(properties)])];
  const required = new Set(schema.required ?? []);
  return names.map((name) => parseField(name, properties[name], required.has(name)));
}

/** Returns one field. `kind` selects its control; `default` is undefined where an untouched field has no value. */
export function parseField(name, schema, required = false) {
  const branches = alternatives(schema);
  const field = {
    name,
    label: fieldLabel(name, schema.title),
    help: schema.description ?? "",
    required,
    nullable: branches.length < alternatives(schema, { withNull: true }).length,
    default: schema.default ?? undefined,
    example: schema.examples?.[0],
  };
  if ("const" in schema) return { ...field, kind: "fixed", value: schema.const, byModel: "type" in schema };
  return { ...field, ...kindOf(field, schema, branches) };
}

/** Returns the branches of a union as schemas of one type each, without null. */
function alternatives(schema, { withNull = false } = {}) {
  const merged = schema.allOf ? Object.assign({}, ...schema.allOf, schema) : schema;
  const { anyOf, oneOf, ...rest } = merged;
  const unions = (anyOf ?? oneOf ?? [{}]).map((branch) => (anyOf || oneOf ? { ...shared(rest), ...branch } : rest));
  const typed = unions.flatMap((branch) =>
    Array.isArray(branch.type) ? branch.type.map((type) => ({ ...branch, type })) : [branch],
  );
  const nullable = typed.some((branch) => branch.nullable || branch.enum?.includes(null));
  const plain = typed.filter((branch) => branch.type !== "null");
  return withNull ? [...plain, ...(nullable || plain.length < typed.length ? [{ type: "null" }] : [])] : plain;
}

// Keywords beside a union that apply to each of its branches.
const shared = ({ _fal_ui_field, ui, "x-fal-file-input": file }) => ({ _fal_ui_field, ui, "x-fal-file-input": file });

function kindOf(field, schema, branches) {
  const choices = branches.find((branch) => Array.isArray(branch.enum));
  const pair = branches.find((branch) => branch.properties?.width && branch.properties?.height);
  if (choices && pair)
    return { kind: "size", options: options(field, choices), custom: parseFields(pair).map(asRequired) };
  const free = branches.find((branch) => branch.type === "string" && !branch.enum);
  if (choices && free) return { kind: "text", suggestions: choices.enum.map(String) };
  // Some enums come twice, as numbers and as their spellings: one of them is enough.
  if (choices) return choiceKind(options(field, choices));
  return plainKind(field, branchFor(field.default, branches) ?? schema);
}

const asRequired = (field) => ({ ...field, required: true });

/** Returns the branch that the default value is of, else the first one. */
function branchFor(value, branches) {
  if (value === undefined) return branches[0];
  return branches.find((branch) => isOfType(value, branch.type)) ?? {};
}

function isOfType(value, type) {
  if (type === undefined) return true;
  if (type === "integer") return Number.isInteger(value);
  if (type === "array") return Array.isArray(value);
  return typeof value === type && !(type === "object" && Array.isArray(value));
}

function plainKind(field, schema) {
  switch (schema.type) {
    case "boolean":
      return booleanKind(field);
    case "integer":
    case "number":
      return numberKind(schema);
    case "string":
      return stringKind(field, schema);
    case "array":
      return arrayKind(field, schema.items ?? {});
    case "object":
      return schema.properties ? { kind: "object", fields: parseFields(schema) } : { kind: "json" };
    default:
      return { kind: "json" };
  }
}

function stringKind({ name }, schema) {
  const media = fileMedia(name, schema);
  if (media !== null) return { kind: "file", media };
  return { kind: "text", long: /prompt|text|description|caption|lyrics|script/.test(name) || schema.maxLength > 200 };
}

function arrayKind({ name }, items) {
  const [item] = alternatives(items);
  if (item?.properties) return { kind: "list", item: parseFields(item), itemName: itemName(item.title ?? "Item") };
  if (item?.type !== "string") return { kind: "json" };
  if (item.enum) return { kind: "strings" };
  const media = fileMedia(name, item);
  return media === null ? { kind: "strings" } : { kind: "files", media };
}

function booleanKind(field) {
  if (typeof field.default === "boolean") return { kind: "switch" };
  return choiceKind([...unset(field), { value: true, label: "On" }, { value: false, label: "Off" }]);
}

function numberKind(schema) {
  const integer = schema.type === "integer";
  const min =
    schema.minimum ?? (integer && isNumber(schema.exclusiveMinimum) ? schema.exclusiveMinimum + 1 : undefined);
  const max =
    schema.maximum ?? (integer && isNumber(schema.exclusiveMaximum) ? schema.exclusiveMaximum - 1 : undefined);
  const step = schema.multipleOf ?? (integer ? 1 : stepFor(min, max));
  // A slider of thousands of steps cannot be set to any of them.
  const slides = min !== undefined && max !== undefined && max > min && (max - min) / step <= 1000;
  return { kind: slides ? "range" : "number", min, max, step, integer };
}

const isNumber = (value) => typeof value === "number";

const stepFor = (min, max) => (min !== undefined && max !== undefined && max - min <= 10 ? 0.01 : 0.1);

function choiceKind(list) {
  const letters = list.reduce((sum, { label }) => sum + label.length, 0);
  return { kind: "choice", options: list, segmented: list.length <= SEGMENTS && letters <= SEGMENT_LETTERS };
}

const options = (field, schema) => [
  ...unset(field),
  ...schema.enum.filter((value) => value !== null).map((value) => ({ value, label: valueLabel(value) })),
  ...(field.nullable && field.default !== undefined ? [{ value: null, label: "None" }] : []),
];

/** Returns the option of a field without a value, where it may have none. */
const unset = (field) =>
  field.required || field.default !== undefined ? [] : [{ value: undefined, label: "Not set" }];

/** Returns true where *value*, set in another form, can be set in *field*. */
export function fits(field, value) {
  if (value instanceof File) return field.kind === "file";
  switch (field.kind) {
    case "text":
      return typeof value === "string";
    case "file":
      return typeof value === "string";
    case "files":
    case "strings":
      return Array.isArray(value) && value.every((item) => typeof item === "string" || item instanceof File);
    case "number":
    case "range":
      return isNumber(value) && value >= (field.min ?? value) && value <= (field.max ?? value);
    case "switch":
      return typeof value === "boolean";
    case "choice":
    case "size":
      return field.options.some((option) => option.value === value);
    default:
      return false;
  }
}
