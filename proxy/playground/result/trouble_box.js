// Explanation of an error, and the buttons that lead on from it.
import { el } from "../dom.js";

export class TroubleBox {
  #node;
  #ticking = null;

  constructor(node) {
    this.#node = node;
  }

  clear() {
    this.#node.hidden = true;
    this.#node.replaceChildren();
    clearInterval(this.#ticking);
  }

  /**
   * Shows a description of `error_messages`. *links*: `[{text, go}]` to the fields that need fixing. *again* runs the same
   * once more, *onCheck* reads the job, *onSignIn* leads to the sign-in, *onSteps* to the steps of the gateway.
   */
  show(description, { links = [], again, onSignIn, onCheck, onSteps } = {}) {
    const { title, text, todo, wait, calm, signIn, check } = description;
    this.clear();
    this.#node.hidden = false;
    this.#node.className = calm ? "trouble calm" : "trouble";
    const retry = again && button("Run again", again);
    this.#node.append(
      el("h3", { text: title }),
      ...(text && !links.length ? [el("p", { text })] : []),
      ...(links.length ? [linkList(links)] : []),
      ...(todo ? [el("p", { class: "todo", text: todo })] : []),
      ...(retry ? [retry] : []),
      ...(check ? [button("Check this job", onCheck)] : []),
      ...(onSteps ? [button("Show the steps", onSteps)] : []),
      ...(signIn ? [button("Sign in", onSignIn)] : []),
    );
    if (retry && wait) this.#countDown(retry, wait);
  }

  #countDown(node, wait) {
    let left = wait;
    const show = () => {
      node.disabled = left > 0;
      node.textContent = left > 0 ? `Run again in ${left} s` : "Run again";
      if (left-- <= 0) clearInterval(this.#ticking);
    };
    show();
    this.#ticking = setInterval(show, 1000);
  }
}

const button = (text, onclick) => el("button", { type: "button", class: "quiet outlined", text, onclick });

const linkList = (links) =>
  el(
    "ul",
    {},
    ...links.map(({ text, go }) => el("li", {}, el("button", { type: "button", class: "link", text, onclick: go }))),
  );
