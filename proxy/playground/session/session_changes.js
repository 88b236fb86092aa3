// Changes of the session by other tabs: they share the cookie, so one that signs in or out changes it for all.
import { fetchConfig } from "./session.js";

const CHANNEL = "fal-auth-proxy session";
const READ_AGAIN = 1_000; // milliseconds before the session is read again, where the gateway did not answer

export class SessionChanges {
  #channel = new BroadcastChannel(CHANNEL);
  #on;
  #turn = Promise.resolve();

  /**
   * Watches for other tabs. *on*: `hold()` stops new runs until the session is known, `read(config)` receives the server's
   * configuration with the user of the cookie. A page that was hidden reads it too: an app may have set another cookie.
   */
  constructor(on) {
    this.#on = on;
    this.#channel.addEventListener("message", () => {
      on.hold();
      this.#turn = this.#turn.then(() => this.#read());
    });
    document.addEventListener("visibilitychange", () => {
      if (document.visibilityState === "visible") this.#turn = this.#turn.then(() => this.#look());
    });
  }

  /** Reports to the other tabs that this one has changed the cookie. */
  report() {
    this.#channel.postMessage("changed");
  }

  /** Reads the session until the gateway answers. */
  async #read() {
    while (!(await this.#look())) await new Promise((resolve) => setTimeout(resolve, READ_AGAIN));
  }

  async #look() {
    let config;
    try {
      config = await fetchConfig();
    } catch {
      return false; // offline
    }
    await this.#on.read(config);
    return true;
  }
}
