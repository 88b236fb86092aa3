// State of the gateway and of what it depends on: one entry each, with a word and a colour.

import { el, icon } from "../playground/dom.js";
import { clock, count, plural } from "./format.js";

const STORE_NAMES = { sqlite: "SQLite", redis: "Redis", memory: "memory" };

export function showHealth(place, data) {
  place.replaceChildren(...entries(data).map((entry) => healthItem(entry)));
}

function healthItem({ name, state, text }) {
  const mark = el("span", { class: "mark", "aria-hidden": "true" });
  mark.append(state === "ok" ? icon("check", 14) : el("b", { text: "!" }));
  const words = el("div", {}, el("span", { class: "health-name", text: name }), el("span", { class: "health-text", text }));
  return el("li", { class: `health-item ${state}` }, mark, words);
}

const entries = (data) => [gateway(data), store(data), ledger(data), fal(data), account(data), configuration(data)];

function gateway({ service, checks, workers }) {
  const draining = workers.filter((worker) => worker.draining).length;
  if (draining) return { name: "Gateway", state: "warn", text: `${plural(draining, "worker")} of ${workers.length} draining` };
  const keys = checks.session_keys ?? "ok";
  if (keys !== "ok") return { name: "Gateway", state: service.ready ? "warn" : "bad", text: `session keys: ${keys}` };
  if (!service.ready) return { name: "Gateway", state: "bad", text: "not ready" };
  return { name: "Gateway", state: "ok", text: `ready, ${plural(workers.length, "worker")}` };
}

function store({ store: found, kinds, checks }) {
  const kind = STORE_NAMES[kinds.store];
  if (found === null) return { name: "Store", state: "ok", text: `in ${kind}` };
  if (found.breaker_open_in) return { name: "Store", state: "bad", text: `${kind} breaker open` };
  if (checks.store !== "ok") return { name: "Store", state: "bad", text: `${kind} ${checks.store}` };
  const failures = found.failures ? `, ${plural(found.failures, "failed call")}` : "";
  return { name: "Store", state: "ok", text: `${kind} answers${failures}` };
}

function ledger({ ledger: found, kinds, jobs, spend }) {
  const kind = STORE_NAMES[kinds.ledger];
  if (found.notices.length) return { name: "Ledger", state: "bad", text: found.notices.join("; ") };
  if (jobs === null || spend === null) return { name: "Ledger", state: "bad", text: `${kind} does not answer` };
  return { name: "Ledger", state: "ok", text: `${kind}, ${count(found.queue)} waiting` };
}

function fal({ breakers, checks }) {
  const open = breakers.filter((breaker) => breaker.open_in);
  if (open.length === 0) return { name: "fal", state: "ok", text: checks.upstream === "ok" ? "all breakers closed" : checks.upstream };
  return { name: "fal", state: "bad", text: `breaker open: ${open.map((one) => one.kind).join(", ")}` };
}

function account({ keys, pauses }) {
  const several = keys.length > 1;
  if (pauses.length === 0) return { name: "fal account", state: "ok", text: several ? `${keys.length} keys accepted` : "accepted" };
  const text = pauses.map((one) => `${one.scope ?? (several ? one.key : "key")} paused: ${one.cause}`).join("; ");
  const refused = new Set(pauses.filter((one) => one.scope === null).map((one) => one.key));
  return { name: "fal account", state: refused.size === keys.length ? "bad" : "warn", text };
}

function configuration({ reload }) {
  const generation = `generation ${reload.generation}`;
  if (reload.result === "refused") return { name: "Configuration", state: "bad", text: `${generation}, reload refused ${clock(reload.at)}` };
  const at = reload.at === null ? "" : `, reloaded ${clock(reload.at)}`;
  return { name: "Configuration", state: "ok", text: `${generation}${at}` };
}
