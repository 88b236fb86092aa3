// Signed out: the demo's users, or a token of one's own.
import { byId, el } from "./dom.js";
import { demoUsers, openDemoSession, surroundings } from "./session.js";

const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** *onenter(config, token)* is called once somebody is known; *token* is null where a cookie is the session. */
export function entranceOf({ onenter }) {
  const section = byId("entrance");
  const token = byId("token");
  const said = byId("token-error");

  async function signInAs(user) {
    byId("sign-in-error").textContent = "";
    try {
      await openDemoSession(user);
      await onenter(await surroundings(), null);
    } catch (error) {
      byId("sign-in-error").textContent = error.message;
    }
  }

  async function signInWith(text) {
    said.textContent = "";
    const config = TOKEN.test(text) ? await surroundings(text) : { user: null };
    if (config.user !== null) {
      token.removeAttribute("aria-invalid");
      token.value = "";
      await onenter(config, text);
      return;
    }
    said.textContent = "The gate does not know this token: it may be cut, expired, or of another issuer.";
    token.setAttribute("aria-invalid", "true");
    token.focus();
  }

  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    signInWith(token.value.trim());
  });

  return {
    async open(config, { focus = false } = {}) {
      const users = config.sandbox ? await demoUsers() : [];
      section.hidden = false;
      // Under another name of this machine, say, where a cookie counts for nothing.
      byId("elsewhere").hidden = config.origin === location.origin || users.length === 0;
      byId("elsewhere").replaceChildren(
        "These users can sign in at ",
        el("a", { href: `${config.origin}/`, text: config.origin }),
        " only: a session cookie counts on its own origin.",
      );
      byId("demo-users").hidden = users.length === 0;
      byId("with-token").open = users.length === 0;
      byId("users").replaceChildren(
        ...users.map((user) =>
          el(
            "button",
            { type: "button", class: "user", onclick: () => signInAs(user) },
            el("span", { class: "avatar", "aria-hidden": "true", text: user[0].toUpperCase() }),
            el("span", { text: `Continue as ${user}` }),
          ),
        ),
      );
      if (focus) byId("entrance-title").focus();
    },
    close() {
      section.hidden = true;
    },
  };
}
