// Sign-in: the users of the demo, or a pasted token.
import { byId, el } from "../dom.js";
import { demoUsers, openDemoSession, fetchConfig } from "./session.js";

const TOKEN = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** *onEnter(config, token)* is called after the sign-in; *token* is null where a cookie is the session. */
export function createSignIn({ onEnter }) {
  const section = byId("entrance");
  const token = byId("token");
  const tokenError = byId("token-error");

  async function signInAs(user) {
    byId("sign-in-error").textContent = "";
    try {
      await openDemoSession(user);
      await onEnter(await fetchConfig(), null);
    } catch (error) {
      byId("sign-in-error").textContent = error.message;
    }
  }

  async function signInWith(text) {
    tokenError.textContent = "";
    const config = TOKEN.test(text) ? await fetchConfig(text) : { user: null };
    if (config.user !== null) {
      token.removeAttribute("aria-invalid");
      token.value = "";
      await onEnter(config, text);
      return;
    }
    tokenError.textContent = "The gateway does not accept this token: it may be incomplete, expired, or of another issuer.";
    token.setAttribute("aria-invalid", "true");
    token.focus();
  }

  byId("token-form").addEventListener("submit", (event) => {
    event.preventDefault();
    signInWith(token.value.trim());
  });

  async function open(config, { focus = false } = {}) {
    const users = config.sandbox ? await demoUsers() : [];
    section.hidden = false;
    showOtherOrigin(config, users);
    byId("demo-users").hidden = users.length === 0;
    byId("with-token").open = users.length === 0;
    byId("users").replaceChildren(...users.map((user) => userButton(user, () => signInAs(user))));
    if (focus) byId("entrance-title").focus();
  }

  return { open, close: () => (section.hidden = true) };
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

function userButton(user, onclick) {
  const avatar = el("span", { class: "avatar", "aria-hidden": "true", text: user[0].toUpperCase() });
  return el("button", { type: "button", class: "user", onclick }, avatar, el("span", { text: `Continue as ${user}` }));
}
