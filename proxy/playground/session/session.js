// Session of the caller. Without a token the browser sends its session cookie, which no script can read.
import { callRecord, finishCall } from "../gateway/call_record.js";

const CONFIG = "/playground/config.json";
const FAL_CLIENT = "/playground/vendor/fal-client-1.10.1.js";
// Seconds. Longer waits are shown to the user; fal's client would repeat the request in vain meanwhile.
const LONGEST_CLIENT_WAIT = 2;

/** Returns the server's configuration for this page and the signed-in user; *token* replaces the cookie. */
export async function fetchConfig(token) {
  const response = await fetch(CONFIG, { headers: bearer(token) });
  if (!response.ok) throw new Error(`The gateway answered ${response.status}.`);
  return response.json();
}

const bearer = (token) => (token ? { authorization: `Bearer ${token}` } : {});

/** Loads fal's client. The first view of the page does without it. */
export async function loadFalClient() {
  try {
    return await import(FAL_CLIENT);
  } catch {
    // A browser may remember a failed import by its address.
    return import(`${FAL_CLIENT}?${Date.now()}`);
  }
}

/** Returns the users of the demo, `[{name, credits}]`; none where this is no demo, or its cookies are off. */
export async function demoUsers() {
  const response = await fetch("/demo/users");
  if (!response.ok) return [];
  const { users, credits } = await response.json();
  return users.map((name) => ({ name, credits: credits[name] }));
}

export async function openDemoSession(user) {
  const response = await demoPost("/demo/session", { user });
  if (!response.ok) throw new Error(`The demo could not sign ${user} in (${response.status}).`);
}

export const demoPost = (path, body) =>
  fetch(path, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify(body) });

/** A signed-in caller. *token* is null where the cookie is the session. */
export class Caller {
  #config;

  constructor(config, token) {
    this.#config = config;
    this.token = token;
    this.user = config.user;
    this.issuer = config.session?.issuer;
  }

  /** Returns the JSON of a route below the prefix. Raises an Error with `status`. */
  async get(path) {
    const { response, call } = await this.request("GET", path);
    if (!response.ok) throw Object.assign(new Error(`${path}: ${response.status}`), { status: response.status, call });
    return response.json();
  }

  /** Sends one request to a route below the prefix. Returns the response and the record of the call. */
  async request(method, path, { body, headers = {}, signal, token = this.token } = {}) {
    const call = callRecord(method, path, operationOf(method, path));
    const json = body === undefined ? {} : { "content-type": "application/json" };
    const response = await fetch(`${this.#config.prefix}${path}`, {
      method,
      headers: { ...bearer(token), ...json, ...headers },
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
    });
    return { response, call: await finishCall(call, response) };
  }

  /**
   * Returns fal's client for one job, with this gateway as proxy. *traffic*: `before(call)` and `after(call, response)`
   * observe each call, `headers(call)` adds headers of its own.
   */
  async client(traffic) {
    const { createFalClient } = await loadFalClient();
    return createFalClient({
      proxyUrl: { url: `${this.#config.prefix}/proxy`, when: "always" },
      credentials: this.token ? () => this.token : undefined,
      // The warning is about fal keys; this is a session token.
      suppressLocalCredentialsWarning: true,
      fetch: (url, options) => observedFetch(url, options, traffic),
    });
  }

  async signOut() {
    if (!this.token) await fetch("/demo/session", { method: "DELETE" });
  }
}

/** Returns which operation a route below the prefix is, null for one that is not of a job. */
function operationOf(method, path) {
  if (path.startsWith("/quote/")) return "quote";
  if (!path.startsWith("/queue/")) return null;
  if (method === "POST") return "submit";
  if (method === "PUT") return "cancel";
  return path.endsWith("/status") ? "status" : "result";
}

async function observedFetch(url, options, traffic) {
  const call = callRecord(options.method ?? "GET", targetPath(url, options), operation(url, options));
  traffic.before(call);
  const response = await connected(url, { ...options, headers: { ...options.headers, ...traffic.headers(call) } });
  traffic.after(await finishCall(call, response), response);
  const paused = response.status === 503 && ["upload-start", "submit"].includes(call.kind);
  const shown = response.status === 429 || paused;
  if (shown && (call.retryAfter ?? 0) > LONGEST_CLIENT_WAIT) throw refusedError(call);
  return response;
}

/** Raises an Error with `network` where there is no answer: fal's client repeats a TypeError, this one it does not. */
async function connected(url, options) {
  try {
    return await fetch(url, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw Object.assign(new Error("No connection to the gateway."), { network: true });
  }
}

const refusedError = (call) =>
  Object.assign(new Error(call.body?.message ?? `Status ${call.status}`), { status: call.status, body: call.body });

const targetPath = (url, { headers = {} }) => new URL(headers["x-fal-target-url"] ?? url, location.href).pathname;

/** Returns which of fal's operations a call of its client is; without the proxy's header it goes to the upload host. */
function operation(url, { method, headers = {} }) {
  const target = headers["x-fal-target-url"];
  if (!target) return method === "PUT" ? "upload" : "upload-end";
  const path = new URL(target).pathname;
  if (path.startsWith("/storage/")) return "upload-start";
  if (method === "PUT") return "cancel";
  if (method === "POST") return "submit";
  return path.includes("/status") ? "status" : "result";
}
