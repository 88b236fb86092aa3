// Sign-in: the users of the demo, or a pasted token.
import { byId, el } from "../dom.js";
import { credits } from "../job/error_messages.js";
import { demoUsers, openDemoSession, fetchConfig } from "./session.js";

const REJECTED = "The gateway does not accept this token: it may be incomplete, expired, or of another issuer.";
const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

export class SignIn {
  #onEnter;
  #onCookie;
  #section = byId("entrance");
  #token = byId("token");
  #tokenError = byId("token-error");

  /**
   * Connects the form. *onEnter(config, token)* is called after the sign-in; *token* is null where a cookie is the session.
   * *onCookie()* is called when the cookie has changed.
   */
  constructor({ onEnter, onCookie }) {
    this.#onEnter = onEnter;
    this.#onCookie = onCookie;
    byId("token-form").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#signInWith(this.#token.value.trim());
    });
  }

  async #signInAs(user) {
    byId("sign-in-error").textContent = "";
    try {
      await openDemoSession(user);
      this.#onCookie();
      await this.#onEnter(await fetchConfig(), null);
    } catch (error) {
      byId("sign-in-error").textContent = error.message;
    }
  }

  async #signInWith(text) {
    this.#tokenError.textContent = "";
    const config = TOKEN.test(text) ? await fetchConfig(text) : { user: null };
    if (config.user !== null) {
      this.#token.removeAttribute("aria-invalid");
      this.#token.value = "";
      await this.#onEnter(config, text);
      return;
    }
    this.#tokenError.textContent = REJECTED;
    this.#token.setAttribute("aria-invalid", "true");
    this.#token.focus();
  }

  async open(config, { focus = false } = {}) {
    const users = config.sandbox ? await demoUsers() : [];
    this.#section.hidden = false;
    showOtherOrigin(config, users);
    byId("demo-users").hidden = users.length === 0;
    byId("with-token").open = users.length === 0;
    byId("users").replaceChildren(...users.map((user) => userButton(user, () => this.#signInAs(user.name))));
    if (focus) byId("entrance-title").focus();
  }

  close() {
    this.#section.hidden = true;
  }
}

/** Shows where the demo's users can sign in, if the page was opened under another host name: no cookie is sent there. */
function showOtherOrigin(config, users) {
  byId("elsewhere").hidden = config.origin === location.origin || users.length === 0;
  byId("elsewhere").replaceChildren(
    "These users can sign in at ",
    el("a", { href: `${config.origin}/`, text: config.origin }),
    " only: a session cookie counts on its own origin.",
  );
}

function userButton({ name, credits: budget }, onclick) {
  const avatar = el("span", { class: "avatar", "aria-hidden": "true", text: name[0].toUpperCase() });
  const text = el("span", { text: `Continue as ${name} ` }, el("small", { text: `${credits(budget)} a day` }));
  return el("button", { type: "button", class: "user", onclick }, avatar, text);
}
