// Menu of the demo: requests that the gateway refuses, shown in the inspector.
import { announce, el } from "../dom.js";
import { describeError } from "../job/error_messages.js";
import { closeOnOutside } from "./menu.js";
import { imageEndpoint, REFUSALS } from "./refusal_requests.js";

/**
 * Fills *menu* (a `details` element). *getContext()* returns `{caller, endpoints, config}`. *on*: `begin(name, text)` and
 * `call(call)` for the inspector, `end()` after the last call.
 */
export function createRefusalMenu(menu, getContext, on) {
  const list = menu.querySelector("ul");
  closeOnOutside(menu);
  list.replaceChildren(...REFUSALS.map((refusal) => el("li", {}, entry(refusal))));

  function entry(refusal) {
    const button = el(
      "button",
      { type: "button", "data-refusal": refusal.id },
      el("span", { text: refusal.name }),
      el("span", { class: "status", text: String(refusal.status) }),
    );
    button.addEventListener("click", () => send(refusal));
    return button;
  }

  async function send(refusal) {
    menu.open = false;
    on.begin(refusal.name, refusal.text);
    announce(`Sending: ${refusal.name}`);
    try {
      const calls = await refusal.send(getContext());
      for (const call of calls) on.call(call);
    } catch (error) {
      on.begin(refusal.name, describeError(error).text ?? error.message);
    }
    on.end();
  }

  return {
    /** Shows the menu where the demo can send its requests. */
    show: ({ config, endpoints }) => (menu.hidden = !config.sandbox || !imageEndpoint(endpoints)),
  };
}
