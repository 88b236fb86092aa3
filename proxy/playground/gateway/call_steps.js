// Steps of the gateway for one call: from its trace, or as far as its status tells. This module does not use the DOM.
import { budgetText, credits, windowText } from "../job/error_messages.js";

// Steps of each kind of call in the order in which they run. A body is counted before it is read: `reserve` comes twice.
const IDENTIFY = ["authenticate", "resolve", "authorize"];
const SUBMIT = [...IDENTIFY, "reserve", "admit", "reserve", "relay", "settle"];
const READ = [...IDENTIFY, "reserve", "relay"];
const OF_KIND = {
  submit: SUBMIT,
  quote: [...IDENTIFY, "reserve", "admit", "reserve"],
  status: READ,
  cancel: READ,
  result: [...READ, "settle"],
  "upload-start": READ,
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
  authenticate: "verify the session token: who calls",
  resolve: "read which endpoint and operation the request is for",
  authorize: "check that the caller may do this, and that the job is theirs",
  reserve: "count the request in the short windows before its body is read, later set its price aside",
  admit: "apply the operator's policy, then validate the input",
  relay: "replace the session with FAL_KEY and send it to fal",
  settle: "charge or release what was set aside, when the job has ended",
};

/** Returns `[{name, state, note}]` in the order of time. state: "ok", "refused", "skipped" (not reached) or "open". */
export function callSteps(call) {
  const ran = call.trace?.steps ?? guessedSteps(call);
  const refused = ran.some((step) => !step.ok);
  const admitted = ran.findIndex(({ name }) => name === "admit");
  const rows = ran.map((step, place) => {
    const counts = hasBody(call) && step.name === "reserve" && (admitted < 0 || place < admitted);
    return { name: step.name, state: step.ok ? "ok" : "refused", note: stepNote(step, call, counts), ms: step.ms };
  });
  return [...rows, ...missingSteps(ran, call).map((name) => missingRow(name, call, refused))];
}

const stepsOf = ({ kind }) => OF_KIND[kind] ?? SUBMIT;

const hasBody = (call) => stepsOf(call).includes("admit");

/** Returns the names of the steps that *ran* does not have, each once. */
function missingSteps(ran, call) {
  const left = [...stepsOf(call)];
  for (const { name } of ran) if (left.includes(name)) left.splice(left.indexOf(name), 1);
  return [...new Set(left)];
}

function missingRow(name, call, refused) {
  if (call.replayed) return { name, state: "skipped", note: "not again: the first request did it" };
  if (name === "settle" && typeof call.charged === "number")
    return { name, state: "ok", note: call.charged ? `${credits(call.charged)} charged` : "nothing charged" };
  return refused ? { name, state: "skipped", note: "not reached" } : { name, state: "open", note: openNote(name, call) };
}

function guessedSteps(call) {
  const names = stepsOf(call).filter((name) => name !== "settle");
  if (call.status < 400) return names.map((name) => ({ name, ok: true }));
  const step = STEP_OF_STATUS[call.status] ?? "relay";
  const last = call.status === 402 ? names.lastIndexOf(step) : names.indexOf(step);
  const reached = last < 0 ? names : names.slice(0, last + 1);
  return reached.map((name, place) => ({ name, ok: place < reached.length - 1 }));
}

function stepNote(step, call, counts) {
  if (!step.ok) return [refusalText(call) || step.note, counts && BEFORE_BODY].filter(Boolean).join(" ");
  if (counts) return ["the request is counted before its body is read", windowLeft(call)].filter(Boolean).join("; ");
  if (step.name === "reserve" && call.replayed) return "waited for the first request, which has the reservation";
  if (step.name === "reserve" && isReserved(call)) return `${credits(call.trace.reserved)} set aside for the job`;
  return step.note ?? MEANING[step.name];
}

const BEFORE_BODY = "Requests are counted before their body is read.";

const windowLeft = ({ window }) => window && `${window.left} of ${window.of} left in ${window.seconds} s`;

function openNote(name, call) {
  if (name !== "settle") return MEANING[name];
  const reserved = call.trace?.reserved;
  return typeof reserved === "number" ? `${credits(reserved)} set aside until the job ends` : "when the job ends";
}

const isReserved = ({ trace }) => typeof trace?.reserved === "number";

/** Returns the reason of a refusal with amounts, times and limits as the page writes them. */
export function refusalText({ body, window }) {
  const detail = body?.detail;
  if (body?.budget) return budgetText(body);
  if (Array.isArray(detail)) return detail.map(({ loc, msg }) => `${loc.slice(1).join(".")}: ${msg}`).join("; ");
  const text = typeof detail === "string" ? detail : (body?.message ?? "");
  return body?.error_type === "rate_limited" && window ? `${text}. ${windowText(window)}` : text;
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
  if (typeof charged !== "number") return text;
  if (charged === 0) return `${text}, and released`;
  return charged < trace.reserved ? `${text}, the rest released` : `${text}, and charged`;
}

/** Returns what a call cost, as far as it is known; a failed result is the end of a job, whose price is settled. */
function costText({ kind, status, body, charged, aborted }) {
  if (aborted) return "that of the repeat: one job for both";
  if (typeof charged === "number") return charged ? credits(charged) : "nothing";
  if (kind === "submit" && status < 400) return "known when the job has ended";
  if (!(status >= 400) || kind === "result") return false;
  return KEPT.includes(body?.error_type) ? "not known: the reservation stays" : "nothing";
}
