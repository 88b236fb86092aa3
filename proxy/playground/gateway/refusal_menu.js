// Menu of the demo: requests that the gateway refuses, shown in the inspector.
import { announce, el } from "../dom.js";
import { credits, describeError } from "../job/error_messages.js";
import { refusalText } from "./call_steps.js";
import { closeOnOutside } from "./menu.js";
import { imageEndpoint, priceOfRun, REFUSALS } from "./refusal_requests.js";

const MARGIN = 500; // milliseconds after Retry-After, for the probe itself

export class RefusalMenu {
  #menu;
  #getContext;
  #on;
  #turn = 0; // an entry that waits is dropped for the next one
  #pausedUntil = 0; // the gateway refuses every submit until then

  /**
   * Fills *menu* (a `details` element). *getContext()* returns `{caller, endpoints, config}`. *on*: `begin(name, text)`
   * and `call(call)` for the inspector, `conclude(text)` for a sentence after the calls, `end(summary)` after the last
   * call, with `{title, text, todo}`, and `follow(job)` for the job of an entry.
   */
  constructor(menu, getContext, on) {
    this.#menu = menu;
    this.#getContext = getContext;
    this.#on = on;
    closeOnOutside(menu);
    menu.addEventListener("toggle", () => menu.open && this.#showPrices());
    menu.querySelector("ul").replaceChildren(...REFUSALS.map((refusal) => el("li", {}, this.#entry(refusal))));
  }

  /** Shows the menu where the demo can send its requests. */
  show({ config, endpoints }) {
    this.#menu.hidden = !config.sandbox || !imageEndpoint(endpoints);
  }

  /** Observes a call of the page: one that the pause refused shows how long it lasts. */
  observe({ body, retryAfter }) {
    if (body?.error_type === "service_paused") this.#pausedUntil = Date.now() + 1000 * (retryAfter ?? 1) + MARGIN;
  }

  #entry(refusal) {
    const name = el("span", { text: refusal.name });
    if (refusal.runs) name.append(" ", el("small", { class: "entry-cost", text: "not a refusal: runs one job" }));
    const button = el(
      "button",
      { type: "button", "data-refusal": refusal.id },
      name,
      " ",
      el("span", { class: "status", text: String(refusal.status) }),
    );
    button.addEventListener("click", () => this.#send(refusal));
    return button;
  }

  async #showPrices() {
    const price = await priceOfRun(this.#getContext()).catch(() => null);
    if (typeof price !== "number") return;
    for (const node of this.#menu.querySelectorAll(".entry-cost"))
      node.textContent = `not a refusal: runs one job for ${credits(price)}`;
  }

  async #send(refusal) {
    const mine = ++this.#turn;
    this.#menu.open = false;
    if (!(await this.#pauseIsOver(refusal, mine))) return;
    this.#on.begin(refusal.name, refusal.text);
    announce(`Sending: ${refusal.name}`);
    try {
      const calls = await refusal.send(this.#getContext());
      this.#showCalls(refusal, calls);
      this.#on.end(summary(refusal, calls));
      const job = calls.at(-1)?.job;
      if (job) this.#on.follow(job);
    } catch (error) {
      const text = describeError(error).text ?? error.message;
      this.#on.begin(refusal.name, text);
      this.#on.end({ title: refusal.name, text });
    }
  }

  #showCalls({ name, status, outcome }, calls) {
    const last = calls.at(-1);
    const expected = last?.status === status;
    if (!expected) this.#on.begin(name, unexpected(status, last));
    for (const call of calls) {
      this.observe(call);
      this.#on.call(call);
    }
    if (expected && outcome) this.#on.conclude(outcome);
  }

  /** Waits while the gateway pauses. Returns false where another entry was chosen meanwhile. */
  async #pauseIsOver({ name }, mine) {
    for (let left = this.#left(); left > 0; left = this.#left()) {
      const text = `fal's account is still paused. This entry is sent in ${left} s, when the gateway has probed fal again.`;
      this.#on.begin(name, text);
      announce(`Waiting ${left} seconds for the end of the pause`);
      await new Promise((resolve) => setTimeout(resolve, 1000));
      if (mine !== this.#turn || !this.#getContext().caller) return false;
    }
    return true;
  }

  #left() {
    return Math.ceil((this.#pausedUntil - Date.now()) / 1000);
  }
}

/** Returns what happened, for a reader of the result. */
function summary({ name, status, outcome }, calls) {
  const call = calls.at(-1);
  if (call?.status !== status) return { title: name, text: unexpected(status, call) };
  if (status < 400) return { title: name, text: outcome };
  const text = refusalText(call);
  return { title: `${name}: refused with ${call.status}`, text, todo: "No job was started, and nothing was charged." };
}

function unexpected(status, call) {
  if (!call) return `No request was refused. This entry expects ${status}.`;
  return `The gateway answered ${call.status}, not the ${status} that this entry shows. ${refusalText(call)}`;
}
