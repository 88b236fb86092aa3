// Display of the signed-in user: name in the header, and issuer, scopes and end of the session in a popover.
import { byId, el } from "../dom.js";
import { closeOnOutside } from "../gateway/menu.js";

const WARNING = 120; // seconds before the end of a session
const WARNING_TICK = 5_000; // milliseconds

export class Who {
  #menu = byId("who-menu");
  #timer = null;

  constructor() {
    closeOnOutside(this.#menu);
  }

  /** Shows *caller*. *session*: `{issuer, subject, scopes, expires_at, source}`, or null of a gateway that does not describe it. */
  show(caller, session) {
    byId("who").hidden = false;
    byId("who-name").textContent = caller.user;
    byId("who-initial").textContent = caller.user[0].toUpperCase();
    const rows = session ? sessionRows(session, caller) : [["User", caller.user]];
    byId("who-facts").replaceChildren(
      ...rows.map(([name, value]) => el("div", {}, el("dt", { text: name }), el("dd", { text: value }))),
    );
    clearInterval(this.#timer);
    this.#timer = setInterval(() => warn(session), WARNING_TICK);
    warn(session);
  }

  hide() {
    byId("who").hidden = true;
    this.#menu.open = false;
    clearInterval(this.#timer);
  }
}

const sessionRows = ({ issuer, subject, scopes, expires_at: end }, caller) => [
  ["Issuer", issuer],
  ["Subject", subject],
  ["Scopes", scopes.length ? scopes.join(" ") : "none"],
  ["Session", caller.token ? "token of this tab" : "cookie; no script can read it"],
  ["Ends", end ? new Date(end).toLocaleString("en-GB", { dateStyle: "medium", timeStyle: "short" }) : "never"],
];

function warn(session) {
  const left = session?.expires_at ? (Date.parse(session.expires_at) - Date.now()) / 1000 : Infinity;
  const note = byId("session-warning");
  note.hidden = left > WARNING || left <= 0;
  if (!note.hidden) note.textContent = `Session ends in ${left < 60 ? "less than a minute" : "2 minutes"}`;
}
