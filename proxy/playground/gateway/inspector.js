// Inspector: each call of a job or of a refused request, with the steps of the gateway.
import { action, announce, copyText, el } from "../dom.js";
import { credits } from "../job/error_messages.js";
import { callFacts, callSteps, MEANING } from "./call_steps.js";

const SYMBOLS = { ok: "✓", refused: "✕", skipped: "–", open: "…" };
const SPOKEN = { ok: "passed", refused: "refused", skipped: "skipped", open: "later" };

export class Inspector {
  #panel;
  #intro = el("div", { class: "intro" });
  #sent = el("p", { class: "sent" });
  #list = el("ol", { class: "calls", "aria-label": "Calls to the gateway" });
  #calls = []; // {call, count, node}

  constructor(panel) {
    this.#panel = panel;
    panel.replaceChildren(this.#intro, this.#sent, this.#list, glossary());
    this.begin(
      "Calls to the gateway",
      "Run a model, or see a refusal: each call is listed here with the steps of the gateway.",
    );
  }

  /** Starts a new list of calls under *title*. */
  begin(title, text) {
    this.#calls = [];
    this.#list.replaceChildren();
    this.#countSent();
    this.#intro.replaceChildren(el("h3", { text: title }), el("p", { class: "hint", text }));
  }

  /** Adds what the job cost, once the gateway has settled it, here and at its submit. */
  settled({ price, state }) {
    if (typeof price !== "number") return;
    const subject = state === "cancelled" ? "This job was cancelled. It cost" : "This job cost";
    this.conclude(`${subject} ${price ? credits(price) : "nothing"}.`);
    for (const item of this.#calls.filter(({ call }) => call.kind === "submit" && call.status < 400)) {
      item.call.charged = price;
      this.#replace(item);
    }
  }

  /** Adds a sentence about the calls. */
  conclude(text) {
    this.#intro.append(el("p", { class: "cost", text }));
  }

  /** Adds a call, or several alike (`call.times`); a repeated poll with the same answer counts up the line before. */
  add(call) {
    this.#place(call);
    this.#countSent();
  }

  #countSent() {
    const sent = this.#calls.reduce((sum, { count }) => sum + count, 0);
    this.#sent.textContent = sent ? `${sent} ${sent === 1 ? "request" : "requests"} sent` : "";
  }

  #place(call) {
    const last = this.#calls.at(-1);
    if (last && call.kind === "status" && last.call.kind === "status" && last.call.status === call.status) {
      last.count += 1;
      last.call = call;
      this.#replace(last);
      return;
    }
    const added = { call, count: call.times ?? 1, node: null };
    this.#calls.push(added);
    added.node = callNode(added, [null, "submit"].includes(call.kind) || call.status >= 400);
    this.#list.append(added.node);
  }

  #replace(item) {
    const focused = item.node.querySelector("summary") === document.activeElement;
    const next = callNode(item, item.node.querySelector("details").open);
    item.node.replaceWith(next);
    item.node = next;
    if (focused) next.querySelector("summary").focus({ preventScroll: true });
  }

  /** Announces the last refusal, and moves the focus to it. */
  focusRefusal() {
    const node = this.#list.querySelector(".refused") ?? this.#list.lastElementChild;
    const step = node?.querySelector(".step-refused b")?.textContent;
    announce(step ? `Refused at the step ${step}` : "The answer is in the inspector");
    node?.querySelector("summary").focus();
  }

}

const glossary = () =>
  el(
    "details",
    { class: "glossary" },
    el("summary", { text: "What the steps do" }),
    el(
      "dl",
      {},
      ...Object.entries(MEANING).map(([name, text]) => el("div", {}, el("dt", { text: name }), el("dd", { text }))),
    ),
  );

function callNode({ call, count }, open) {
  const refused = call.status >= 400 || call.aborted;
  const label = call.label && el("span", { class: "call-label", text: call.label });
  const status = call.aborted ? "connection closed" : String(call.status);
  const summary = el(
    "summary",
    {},
    label,
    el("span", { class: "call-status", text: status }),
    el("b", { text: call.method }),
    el("code", { class: "call-path", text: shortPath(call.path) }),
    el("span", { class: "call-time", text: `${count > 1 ? `${count} times · ` : ""}${Math.round(call.ms ?? 0)} ms` }),
  );
  const steps = call.aborted ? [] : callSteps(call).map(stepNode);
  const about = call.about && el("p", { class: "call-about", text: call.about });
  const details = el("details", { open }, summary, about, el("ol", { class: "steps" }, ...steps), facts(call));
  return el("li", { class: refused ? "call refused" : "call" }, details);
}

function stepNode({ name, state, note, ms }) {
  return el(
    "li",
    { class: `step-${state}`, title: MEANING[name] },
    el("span", { class: "step-mark", "aria-hidden": "true", text: SYMBOLS[state] }),
    el("b", { text: name }),
    el("span", { class: "unseen", text: SPOKEN[state] }),
    el("span", { class: "step-note", text: note ?? "" }),
    typeof ms === "number" && el("span", { class: "step-time", text: `${ms.toFixed(1)} ms` }),
  );
}

function facts(call) {
  const rows = callFacts(call).map(([name, value]) =>
    el("div", {}, el("dt", { text: name }), el("dd", { text: value })),
  );
  const copy = action("copy", "Copy for support", () => copyText(supportText(call), copy));
  return el("div", { class: "call-facts" }, el("dl", {}, ...rows), copy);
}

const supportText = (call) =>
  JSON.stringify(
    {
      request_id: call.requestId,
      time: new Date(call.at).toISOString(),
      method: call.method,
      path: call.path,
      status: call.status,
      error_type: call.body?.error_type,
      steps: callSteps(call),
    },
    null,
    2,
  );

// The end of a handle is as telling as all of it.
const shortPath = (path) => path.replace(/requests\/([^/]{8})[^/]*/, "requests/$1…");
