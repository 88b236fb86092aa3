// Requests that the gateway refuses, or answers once: each is sent for real. This module does not use the DOM.
import { demoPost } from "../session/session.js";
import { callRecord } from "./call_record.js";

// A white pixel: the smallest image that a model accepts.
const PIXEL =
  "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAQAAAC1HAwCAAAAC0lEQVR42mP8/x8AAwMCAO+ip1sAAAAASUVORK5CYII=";
const BURST = 10; // requests at once
const MOST_REQUESTS = 240; // of a burst; the gateway's windows are smaller
const GIVES_UP_AFTER = 500; // milliseconds, as a front proxy with no patience
const REPEATS_AFTER = 500; // milliseconds; fal's client waits about a second

/**
 * `{id, status, name, text, send(context)}`; `send` returns the calls to show, in the order of time. *context*:
 * `{caller, endpoints, config}`. An entry that *runs* a job has a price; its *outcome* is shown after its calls.
 */
export const REFUSALS = [
  {
    id: "schema",
    status: 422,
    name: "Nine images",
    text: "The input schema allows eight. The gateway validates each input before it costs anything.",
    send: (context) => submit(context, { num_images: 9 }),
  },
  {
    id: "budget",
    status: 402,
    name: "Costs more than is left",
    text: "The price is known before the call. The budget does not cover it, so nothing is sent.",
    send: (context) => submit(context, { num_images: 8, num_inference_steps: "4", image_size: "square_hd" }),
  },
  {
    id: "window",
    status: 429,
    name: "Too fast",
    text: "The page sends price quotes, ten at once, until the short window is full. Retry-After names the seconds to wait.",
    send: burst,
  },
  {
    id: "listing",
    status: 403,
    name: "A model that is not listed",
    text: "Only the endpoints that the operator listed can be called.",
    send: ({ caller }) => one(caller, "POST", "/queue/fal-ai/not-listed", { body: { prompt: "x" } }),
  },
  {
    id: "foreign",
    status: 404,
    name: "The job of another user",
    text: "The job exists. Its handle is bound to the user who started it.",
    send: foreignJob,
  },
  {
    id: "forged",
    status: 404,
    name: "A forged job id",
    text: "The handle carries a signature of the gateway. A made-up one is rejected without a call to fal.",
    send: (context) => one(context.caller, "GET", statusPath(imageEndpoint(context.endpoints), forgedHandle())),
  },
  {
    id: "signer",
    status: 401,
    name: "A token of another signer",
    text: "The same claims, signed with another key. A bad token never falls back to the cookie.",
    send: forgedToken,
  },
  {
    id: "locked",
    status: 503,
    name: "fal's account is locked",
    text: "The sandbox answers as fal does for a locked account. The gateway pauses all new calls, and probes fal until it accepts the key again.",
    send: lockedAccount,
  },
  {
    id: "replay",
    status: 200,
    name: "A front proxy gives up",
    text: "The first connection closes before its answer. The same request is sent again, as a front proxy or a browser does.",
    outcome: "The repeat got the answer of the first request: one job, charged once. Result shows it.",
    runs: true,
    send: replay,
  },
];

/** Returns the endpoint that the requests are made for, or undefined: one with a number of images. */
export const imageEndpoint = (endpoints) =>
  endpoints.find(({ schema }) => schema.properties?.num_images && schema.properties.image_url) ??
  endpoints.find(({ schema }) => schema.properties?.num_images);

function validInput({ schema }, more) {
  const required = Object.fromEntries((schema.required ?? []).map((name) => [name, "a lighthouse by the sea"]));
  if ("image_url" in required) required.image_url = PIXEL;
  return { ...required, ...more };
}

async function one(caller, method, path, options) {
  const { call } = await caller.request(method, path, options);
  return [call];
}

function submit({ caller, endpoints }, more) {
  const endpoint = imageEndpoint(endpoints);
  return one(caller, "POST", `/queue/${endpoint.id}`, { body: validInput(endpoint, more) });
}

async function burst({ caller, endpoints }) {
  const endpoint = imageEndpoint(endpoints);
  const body = validInput(endpoint, { image_size: "square" });
  const calls = [];
  while (calls.length < MOST_REQUESTS && !calls.some(({ status }) => status >= 400)) {
    const requests = Array.from({ length: BURST }, () => one(caller, "POST", `/quote/${endpoint.id}`, { body }));
    calls.push(...(await Promise.all(requests)).flat());
  }
  return alike(calls);
}

/** Returns one of the *calls* for each status, with how many there were. */
function alike(calls) {
  const statuses = [...new Set(calls.map(({ status }) => status))].sort();
  return statuses.map((status) => {
    const group = calls.filter((call) => call.status === status);
    return { ...group.at(-1), times: group.length };
  });
}

const statusPath = ({ id }, handle) => `/queue/${id.split("/").slice(0, 2).join("/")}/requests/${handle}/status`;

const forgedHandle = () => `${crypto.randomUUID()}.${btoa(crypto.randomUUID()).slice(0, 22)}`;

async function foreignJob({ caller }) {
  const response = await demoPost("/demo/job", {});
  if (!response.ok) throw new Error(`The demo could not start a job (${response.status}).`);
  const { endpoint, request_id: handle } = await response.json();
  return one(caller, "GET", statusPath({ id: endpoint }, handle));
}

async function forgedToken({ caller, config, endpoints }) {
  const part = (value) => btoa(JSON.stringify(value)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const { issuer, audience, subject } = config.session;
  const claims = { iss: issuer, aud: audience, sub: subject, exp: Math.floor(Date.now() / 1000) + 3600 };
  const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part(claims)}`;
  const key = await crypto.subtle.generateKey({ name: "HMAC", hash: "SHA-256" }, false, ["sign"]);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, new TextEncoder().encode(signed)));
  const signature = btoa(String.fromCharCode(...mac))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
  const endpoint = imageEndpoint(endpoints);
  return one(caller, "POST", `/queue/${endpoint.id}`, { body: validInput(endpoint), token: `${signed}.${signature}` });
}

async function lockedAccount(context) {
  const fault = await demoPost("/demo/fault", { fault: "locked" });
  if (!fault.ok) throw new Error(`The demo's sandbox took no fault (${fault.status}).`);
  return submit(context, { image_size: "square" });
}

async function replay(context) {
  const { caller, endpoints } = context;
  const fault = await demoPost("/demo/fault", { fault: "slow-submit" });
  if (!fault.ok) throw new Error(`The demo's sandbox took no fault (${fault.status}).`);
  const endpoint = imageEndpoint(endpoints);
  const body = validInput(endpoint, { image_size: "square", seed: Math.floor(Math.random() * 2 ** 31) });
  const path = `/queue/${endpoint.id}`;
  const first = await abandoned(caller, path, body);
  await new Promise((resolve) => setTimeout(resolve, REPEATS_AFTER));
  const { response, call: second } = await caller.request("POST", path, { body });
  if (response.ok) second.job = { requestId: (await response.json()).request_id, endpoint: endpoint.id, input: body };
  Object.assign(first, {
    label: "First request",
    about: "The page closed this connection before the answer. The gateway went on with the request, and keeps its answer.",
  });
  Object.assign(second, {
    label: "Repeat",
    about: "The same request again. The gateway sent nothing to fal for it: it waited for the first request's answer.",
  });
  return [first, second];
}

/** Returns what an entry that runs a job costs, null where the gateway quotes no price. */
export async function priceOfRun({ caller, endpoints }) {
  const endpoint = imageEndpoint(endpoints);
  const body = validInput(endpoint, { image_size: "square" });
  const { response } = await caller.request("POST", `/quote/${endpoint.id}`, { body });
  return response.ok ? (await response.json()).price : null;
}

async function abandoned(caller, path, body) {
  const call = callRecord("POST", path, "submit");
  const gone = AbortSignal.timeout(GIVES_UP_AFTER);
  try {
    return (await caller.request("POST", path, { body, signal: gone })).call;
  } catch (error) {
    if (!gone.aborted) throw error;
    return { ...call, aborted: true, ms: performance.now() - call.started };
  }
}
