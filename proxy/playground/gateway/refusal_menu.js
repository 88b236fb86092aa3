// Menu of the demo: requests that the gateway refuses, shown in the inspector.
import { announce, el } from "../dom.js";
import { describeError } from "../job/error_messages.js";
import { closeOnOutside } from "./menu.js";
import { imageEndpoint, REFUSALS } from "./refusal_requests.js";

export class RefusalMenu {
  #menu;
  #getContext;
  #on;

  /**
   * Fills *menu* (a `details` element). *getContext()* returns `{caller, endpoints, config}`. *on*: `begin(name, text)`
   * and `call(call)` for the inspector, `end()` after the last call.
   */
  constructor(menu, getContext, on) {
    this.#menu = menu;
    this.#getContext = getContext;
    this.#on = on;
    closeOnOutside(menu);
    menu.querySelector("ul").replaceChildren(...REFUSALS.map((refusal) => el("li", {}, this.#entry(refusal))));
  }

  /** Shows the menu where the demo can send its requests. */
  show({ config, endpoints }) {
    this.#menu.hidden = !config.sandbox || !imageEndpoint(endpoints);
  }

  #entry(refusal) {
    const button = el(
      "button",
      { type: "button", "data-refusal": refusal.id },
      el("span", { text: refusal.name }),
      el("span", { class: "status", text: String(refusal.status) }),
    );
    button.addEventListener("click", () => this.#send(refusal));
    return button;
  }

  async #send(refusal) {
    this.#menu.open = false;
    this.#on.begin(refusal.name, refusal.text);
    announce(`Sending: ${refusal.name}`);
    try {
      const calls = await refusal.send(this.#getContext());
      for (const call of calls) this.#on.call(call);
    } catch (error) {
      this.#on.begin(refusal.name, describeError(error).text ?? error.message);
    }
    this.#on.end();
  }
}
