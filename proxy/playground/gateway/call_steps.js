// Steps of the gateway for one call: from its trace, or as far as its status tells. This module does not use the DOM.
import { credits } from "../job/error_messages.js";

export const GATEWAY_STEPS = ["authenticate", "resolve", "authorize", "admit", "reserve", "relay", "settle"];

const WITHOUT_PAYLOAD = ["authenticate", "resolve", "authorize", "relay"];
const OF_KIND = {
  status: WITHOUT_PAYLOAD,
  cancel: WITHOUT_PAYLOAD,
  result: [...WITHOUT_PAYLOAD, "settle"],
  "upload-start": ["authenticate", "resolve", "authorize", "reserve", "relay"],
};

// The step that ends a call of a status, where the gateway sends no trace.
const STEP_OF_STATUS = {
  400: "resolve",
  401: "authenticate",
  402: "reserve",
  403: "authorize",
  404: "authorize",
  413: "admit",
  415: "admit",
  422: "admit",
  429: "reserve",
  502: "relay",
  503: "relay",
  504: "relay",
};

/** Purpose of each step, for a reader who has only the page. */
export const MEANING = {
  authenticate: "verify the session token",
  resolve: "read which endpoint and operation the request is for",
  authorize: "check that the caller may do this, and that the job is theirs",
  admit: "apply the operator's policy, then validate the input",
  reserve: "count the request and reserve its price",
  relay: "replace the session with FAL_KEY and send it to fal",
  settle: "charge or refund the reservation",
};

/** Returns `[{name, state, note}]`. state: "ok", "refused", "skipped" (not reached) or "open" (still to come). */
export function callSteps(call) {
  const steps = call.trace?.steps ?? guessedSteps(call);
  const passed = new Map(steps.map((step) => [step.name, step]));
  const refused = steps.find((step) => !step.ok);
  const names = GATEWAY_STEPS.filter(
    (name) => passed.has(name) || refused || (OF_KIND[call.kind] ?? GATEWAY_STEPS).includes(name),
  );
  return names.map((name) => {
    const step = passed.get(name);
    // A submit is counted before its input is validated; its price is reserved after that.
    const label = refused && step?.ok && name === "reserve" && !isReserved(call) ? "count" : name;
    if (step) return { name, label, state: step.ok ? "ok" : "refused", note: stepNote(step, call), ms: step.ms };
    if (name === "settle" && typeof call.charged === "number")
      return { name, state: "ok", note: call.charged ? `${credits(call.charged)} charged` : "nothing charged" };
    if (refused) return { name, state: "skipped", note: "not reached" };
    return { name, state: "open", note: openNote(name, call) };
  });
}

function guessedSteps(call) {
  const names = (OF_KIND[call.kind] ?? GATEWAY_STEPS).filter((name) => name !== "settle");
  if (call.status < 400) return names.map((name) => ({ name, ok: true }));
  const last = STEP_OF_STATUS[call.status] ?? "relay";
  const reached = GATEWAY_STEPS.slice(0, GATEWAY_STEPS.indexOf(last) + 1);
  return reached.map((name) => ({ name, ok: name !== last }));
}

function stepNote(step, call) {
  if (!step.ok) return refusalText(call) || step.note;
  if (step.note) return step.note;
  if (step.name === "reserve" && call.status >= 400 && !isReserved(call)) return "the request is counted, not charged";
  return step.name === "reserve" && call.window
    ? `${call.window.left} of ${call.window.of} requests left`
    : MEANING[step.name];
}

function openNote(name, call) {
  if (call.replayed) return "not again: the first request did it";
  if (name !== "settle") return MEANING[name];
  const reserved = call.trace?.reserved;
  return typeof reserved === "number" ? `${credits(reserved)} reserved until the job ends` : "when the job ends";
}

const isReserved = ({ trace }) => typeof trace?.reserved === "number";

export function refusalText({ body }) {
  const detail = body?.detail;
  if (Array.isArray(detail)) return detail.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
  return typeof detail === "string" ? detail : (body?.message ?? "");
}

/** Returns facts of a call for its footer: what was forced, dropped, reserved, charged, and its identifiers. */
export function callFacts(call) {
  const { trace, requestId, retryAfter, replayed, body } = call;
  const list = (names) => names?.length && names.join(", ");
  return [
    ["Forced by the operator", list(trace?.forced)],
    ["Dropped", list(trace?.dropped)],
    ["Reserved", isReserved(call) && reservedText(call)],
    ["Cost", costText(call)],
    ["Error type", body?.error_type],
    ["Retry after", retryAfter && `${retryAfter} s`],
    ["Answer", replayed && "that of the first request: it ran once and is charged once"],
    ["Request", requestId],
  ].filter(([, value]) => value);
}

// Refusals whose reservation stays: fal may have the job.
const KEPT = ["outcome_unknown"];

function reservedText({ trace, status, body, charged }) {
  const text = credits(trace.reserved);
  if (status >= 400 && !KEPT.includes(body?.error_type)) return `${text}, and released`;
  return typeof charged === "number" ? `${text}, and settled` : text;
}

/** Returns what a call cost, as far as it is known; a failed result is the end of a job, whose price is settled. */
function costText({ kind, status, body, charged }) {
  if (typeof charged === "number") return charged ? credits(charged) : "nothing";
  if (!(status >= 400) || kind === "result") return false;
  return KEPT.includes(body?.error_type) ? "not known: the reservation stays" : "nothing";
}
