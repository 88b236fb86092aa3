// Progress of a job in four steps, with the time each took.
import { el, seconds } from "../dom.js";

const STEPS = ["gateway", "queue", "run", "done"];
const NAMES = { gateway: "Gateway", queue: "Queue", run: "Running", done: "Done" };
const TICK = 200; // milliseconds between updates of the running time

export class ProgressLine {
  #node;
  #steps;
  #timer = null;
  #since = 0;

  constructor(node) {
    this.#node = node;
    this.#steps = Object.fromEntries(
      STEPS.map((name) => [
        name,
        el("li", {}, el("span", { class: "dot" }), el("b", { text: NAMES[name] }), el("span", { class: "detail" })),
      ]),
    );
    node.replaceChildren(...Object.values(this.#steps));
  }

  hide() {
    clearInterval(this.#timer);
    this.#node.hidden = true;
  }

  begin() {
    this.#node.hidden = false;
    this.#node.className = "line going";
    for (const name of STEPS) this.#write(name, "");
    this.step("gateway", "checking");
  }

  /** Makes *name* the current step. With *timed* its time counts up from now. */
  step(name, text = "", { timed = false } = {}) {
    clearInterval(this.#timer);
    this.#mark(name);
    this.#write(name, text);
    if (!timed) return;
    this.#since = performance.now();
    const show = () => this.#write(name, seconds(performance.now() - this.#since));
    show();
    this.#timer = setInterval(show, TICK);
  }

  #mark(name) {
    const place = STEPS.indexOf(name);
    STEPS.forEach((each, index) => {
      const node = this.#steps[each];
      node.className = index < place ? "past" : index === place ? "now" : "";
      if (index === place) node.setAttribute("aria-current", "step");
      else node.removeAttribute("aria-current");
    });
  }

  /** Writes the time that a past step took. */
  passed(name, text) {
    this.#write(name, text);
  }

  /** Shows a job that has ended, with the times of its steps in milliseconds; null where a time is not known. */
  end({ total, gateway, queue, run }) {
    this.#node.hidden = false;
    this.#node.className = "line ended";
    this.step("done", total === null ? "" : seconds(total));
    for (const [name, time] of [
      ["gateway", gateway],
      ["queue", queue],
      ["run", run],
    ])
      this.#write(name, time === null ? "" : seconds(time));
  }

  #write(name, text) {
    this.#steps[name].querySelector(".detail").textContent = text;
  }
}
