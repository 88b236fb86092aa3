// Price of a run before it is sent: a quote of the gateway, made again after each change of the form.
import { el } from "../dom.js";
import { amount, credits } from "../job/error_messages.js";
import { replaceFiles } from "../form/file_values.js";

const PAUSE = 500; // milliseconds without a change before a quote is requested

export class PricePreview {
  #node;
  #getState;
  #timer = null;
  #turn = 0;
  #off = false;
  #pausedUntil = 0;

  /** Shows prices in *node*. *getState()* returns `{caller, endpoint, form, config}`. */
  constructor(node, getState) {
    this.#node = node;
    this.#getState = getState;
  }

  /** Starts again for a new session. */
  reset() {
    this.#off = false;
    this.#pausedUntil = 0;
    this.#show("");
  }

  /** Requests a quote soon. */
  update() {
    clearTimeout(this.#timer);
    this.#turn += 1;
    if (!this.#off)
      this.#timer = setTimeout(() => this.#quote(this.#turn), Math.max(PAUSE, this.#pausedUntil - Date.now()));
  }

  async #quote(turn) {
    const { caller, endpoint, form, config } = this.#getState();
    if (!caller || !endpoint || !form) return;
    if (!form.complete) return this.#show("");
    // A file has no URL before its upload; the price does not depend on it.
    const body = replaceFiles(form.read(), `${config.upload_hosts[0]}/files/quote`);
    const answer = await requestQuote(caller, endpoint, body);
    if (turn !== this.#turn || !answer) return;
    const { response, call } = answer;
    if (response.status === 404 || response.status === 405) this.#off = true;
    if (response.status === 429) return this.#pause(call.retryAfter ?? 1);
    const quote = response.ok ? await response.json() : null;
    if (turn !== this.#turn) return;
    this.#show(quote ? quoteText(quote) : "");
  }

  /** Shows how long no quote can be requested, and requests one after that. */
  #pause(seconds) {
    this.#pausedUntil = Date.now() + 1000 * seconds;
    // Hidden from screen readers: the line is live, and each second would be announced.
    const time = el("span", { "aria-hidden": "true" });
    const show = () => {
      const left = Math.ceil((this.#pausedUntil - Date.now()) / 1000);
      if (left > 0 && time.isConnected) time.textContent = ` in ${left} s`;
      else clearInterval(ticking);
    };
    const ticking = setInterval(show, 1000);
    this.#node.replaceChildren("Too many price requests; the price is back", time);
    show();
    this.update();
  }

  #show(text) {
    this.#node.textContent = text;
  }
}

async function requestQuote(caller, endpoint, body) {
  try {
    return await caller.request("POST", `/quote/${endpoint.id}`, { body });
  } catch {
    return null; // offline: the run itself reports it
  }
}

function quoteText({ price, budgets = [], would_be_admitted: admitted }) {
  if (price === null || price === undefined) return "";
  const [budget] = budgets.filter(({ after }) => typeof after === "number").sort((a, b) => a.after - b.after);
  const cost = `Costs ${credits(price)}`;
  if (admitted === false) return `${cost}; more than you have left`;
  return budget ? `${cost}; ${amount(budget.after)} left after it` : cost;
}
