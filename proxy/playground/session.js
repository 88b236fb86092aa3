// Session of the caller. Without a token the browser sends its session cookie, which no script can read.
import { createFalClient } from "./vendor/fal-client-1.10.1.js";

const CONFIG = "/playground/config.json";

/** Returns the server's configuration for this page and the signed-in user; *token* replaces the cookie. */
export async function fetchConfig(token) {
  const response = await fetch(CONFIG, { headers: bearer(token) });
  if (!response.ok) throw new Error(`The gateway answered ${response.status}.`);
  return response.json();
}

const bearer = (token) => (token ? { authorization: `Bearer ${token}` } : {});

/** The demo's users; none where this is no demo, or its cookies are off. */
export async function demoUsers() {
  const response = await fetch("/demo/users");
  return response.ok ? (await response.json()).users : [];
}

export async function openDemoSession(user) {
  const response = await fetch("/demo/session", {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ user }),
  });
  if (!response.ok) throw new Error(`The demo would not sign ${user} in (${response.status}).`);
}

/** A signed-in caller. *token* is null where the cookie is the session. */
export function createCaller(config, token) {
  return {
    user: config.user,
    token,
    async get(path) {
      const response = await fetch(`${config.prefix}${path}`, { headers: bearer(token) });
      if (!response.ok) throw Object.assign(new Error(`${path}: ${response.status}`), { status: response.status });
      return response.json();
    },
    /** Returns fal's client for one job, with this gateway as proxy; *traffic* observes each call, before and after. */
    client(traffic) {
      return createFalClient({
        proxyUrl: { url: `${config.prefix}/proxy`, when: "always" },
        credentials: token ? () => token : undefined,
        // The warning is about fal keys; this is a session token.
        suppressLocalCredentialsWarning: true,
        fetch: (url, options) => watched(url, options, traffic),
      });
    },
    async signOut() {
      if (!token) await fetch("/demo/session", { method: "DELETE" });
    },
  };
}

async function watched(url, options, traffic) {
  const call = callOf(url, options);
  traffic.before(call);
  const response = await fetch(url, options);
  traffic.after(call, response);
  return response;
}

/** Which of fal's operations a call of its client is: the proxy header says it, else it goes to the upload host. */
function callOf(url, { method, headers = {} }) {
  const target = headers["x-fal-target-url"];
  if (!target) return { kind: method === "PUT" ? "upload" : "upload-end", url };
  const path = new URL(target).pathname;
  if (path.startsWith("/storage/")) return { kind: "upload-start" };
  if (method === "PUT") return { kind: "cancel" };
  if (method === "POST") return { kind: "submit" };
  return { kind: path.includes("/status") ? "status" : "result" };
}
