// Result view: progress of a job, the result beside its input, and the explanation of an error.
import { announce, byId, el, icon, seconds } from "./dom.js";
import { createComparison } from "./before_after.js";

const STEPS = ["gate", "queue", "run", "done"];
const NAMES = { gate: "Gateway", queue: "Queue", run: "Running", done: "Done" };

/** *on*: `reuseSeed(seed)`, `useAsInput(url)`; *savable(url)*: whether the page may fetch a picture to save it. */
export function createResultView({ on, savable }) {
  const canvas = byId("canvas");
  const trouble = byId("trouble");
  const facts = byId("facts");
  const line = byId("line");
  const logs = byId("logs");
  const steps = Object.fromEntries(
    STEPS.map((name) => [
      name,
      el("li", {}, el("span", { class: "dot" }), el("b", { text: NAMES[name] }), el("span", { class: "detail" })),
    ]),
  );
  line.replaceChildren(...Object.values(steps));
  let ticking = null;
  const logged = new Set();
  let last = null; // the entry on show, to come back to after a refusal

  function step(name, text = "") {
    const place = STEPS.indexOf(name);
    STEPS.forEach((each, index) => {
      steps[each].className = index < place ? "past" : index === place ? "now" : "";
      if (index === place) steps[each].setAttribute("aria-current", "step");
      else steps[each].removeAttribute("aria-current");
    });
    steps[name].querySelector(".detail").textContent = text;
  }

  function clearTrouble() {
    trouble.hidden = true;
    trouble.replaceChildren();
    clearInterval(ticking);
  }

  function idle(preview) {
    line.hidden = true;
    canvas.className = "canvas empty";
    canvas.replaceChildren(
      ...(preview
        ? [el("img", { class: "waiting", src: preview, alt: "The picture that goes in" })]
        : [
            el("div", { class: "empty-mark" }, icon("picture", 36)),
            el("p", { text: "Add an image and a prompt, then press Run." }),
          ]),
    );
  }

  return {
    idle(preview) {
      last = null;
      facts.hidden = true;
      logs.hidden = true;
      clearTrouble();
      idle(preview);
    },

    /** The picture that will go in, where no result is on show. */
    preview(src) {
      if (!last) idle(src);
    },

    forget() {
      this.idle(null);
    },

    begin(preview) {
      clearTrouble();
      idle(preview);
      facts.hidden = true;
      logs.hidden = true;
      logged.clear();
      byId("log-lines").replaceChildren();
      canvas.classList.add("busy");
      line.hidden = false;
      line.className = "line going";
      for (const each of STEPS) steps[each].querySelector(".detail").textContent = "";
      step("gate", "checking");
      const away = canvas.getBoundingClientRect();
      if (away.top < 0 || away.top > innerHeight / 2) canvas.scrollIntoView({ block: "center" });
    },

    step,

    passed(name, text) {
      steps[name].querySelector(".detail").textContent = text;
    },

    logs(entries) {
      // Entries are a sliding window of time (fal's API), so neither their number nor their place tells what is new.
      const nameOf = (entry) => `${entry.timestamp} ${entry.message}`;
      const lines = entries.filter((entry) => !logged.has(nameOf(entry)));
      if (!lines.length) return;
      for (const entry of lines) logged.add(nameOf(entry));
      logs.hidden = false;
      byId("log-count").textContent = String(logged.size);
      byId("log-lines").append(
        ...lines.map((entry) =>
          el(
            "p",
            { class: entry.level === "ERROR" ? "bad" : null },
            el("time", { text: clock(entry.timestamp) }),
            el("span", { text: entry.message }),
          ),
        ),
      );
    },

    show(entry) {
      clearTrouble();
      last = entry;
      const { result, took, preview } = entry;
      const images = result.images ?? [];
      line.hidden = false;
      line.className = "line ended";
      step("done", seconds(took.total));
      steps.gate.querySelector(".detail").textContent = seconds(took.gate);
      steps.queue.querySelector(".detail").textContent = seconds(took.queue);
      steps.run.querySelector(".detail").textContent = took.run === null ? "" : seconds(took.run);
      const pick = (place) => {
        const image = images[place];
        const alt = `Result${images.length > 1 ? ` ${place + 1} of ${images.length}` : ""}: ${entry.input.prompt ?? entry.endpoint}`;
        canvas.className = "canvas";
        canvas.replaceChildren(
          createComparison({ before: preview, after: image.url, alt, width: image.width, height: image.height }),
          ...(images.length > 1 ? [tray(images, place, pick)] : []),
          ...(result.has_nsfw_concepts?.[place]
            ? [el("p", { class: "notice", text: "The safety checker has blacked this picture out." })]
            : []),
        );
        showFacts(entry, image);
      };
      if (images.length) pick(0);
      else {
        canvas.className = "canvas";
        canvas.replaceChildren(el("pre", { class: "raw", tabindex: "0", text: JSON.stringify(result, null, 2) }));
        facts.hidden = true;
      }
    },

    /** *links*: `[{text, go}]` to the fields that are to be mended. *again* runs the same once more. */
    refuse({ title, text, todo, wait, calm, signIn }, { links = [], again, onSignIn } = {}) {
      if (last) this.show(last);
      clearTrouble();
      canvas.classList.remove("busy");
      if (!last) line.hidden = true;
      trouble.hidden = false;
      trouble.className = calm ? "trouble calm" : "trouble";
      const retry =
        again && el("button", { type: "button", class: "quiet outlined", text: "Run again", onclick: again });
      trouble.append(
        el("h3", { text: title }),
        ...(text && !links.length ? [el("p", { text })] : []),
        ...(links.length
          ? [
              el(
                "ul",
                {},
                ...links.map(({ text: label, go }) =>
                  el("li", {}, el("button", { type: "button", class: "link", text: label, onclick: go })),
                ),
              ),
            ]
          : []),
        ...(todo ? [el("p", { class: "todo", text: todo })] : []),
        ...(retry ? [retry] : []),
        ...(signIn
          ? [el("button", { type: "button", class: "quiet outlined", text: "Sign in", onclick: onSignIn })]
          : []),
      );
      if (retry && wait) countDown(retry, wait);
    },

    clearTrouble,
  };

  function countDown(button, wait) {
    let left = wait;
    const show = () => {
      button.disabled = left > 0;
      button.textContent = left > 0 ? `Run again in ${left} s` : "Run again";
      if (left-- <= 0) clearInterval(ticking);
    };
    show();
    ticking = setInterval(show, 1000);
  }

  function showFacts(entry, image) {
    const { result, requestId } = entry;
    facts.hidden = false;
    facts.replaceChildren(
      el(
        "dl",
        {},
        ...(result.seed === undefined ? [] : fact("Seed", el("code", { id: "seed-shown", text: String(result.seed) }))),
        ...(image.width ? fact("Size", `${image.width} × ${image.height}`) : []),
        ...fact(
          "Job",
          el("code", {
            class: "job-id",
            title: requestId,
            text: `${requestId.slice(0, 8)}…${requestId.slice(-6)}`,
          }),
        ),
      ),
      el(
        "div",
        { class: "actions" },
        ...(result.seed === undefined ? [] : [action("again", "Reuse seed", () => on.reuseSeed(result.seed))]),
        action("input", "Use as input", () => on.useAsInput(image.url)),
        action("download", "Download", () => download(image, entry)),
      ),
    );
  }

  async function download(image, entry) {
    const name = `${(entry.input.prompt ?? "picture")
      .toLowerCase()
      .replace(/[^a-z0-9]+/g, "-")
      .slice(0, 40)}-${entry.result.seed ?? "x"}.${image.content_type?.split("/")[1] ?? "jpg"}`;
    if (!savable(image.url)) {
      el("a", { href: image.url, target: "_blank", rel: "noopener noreferrer" }).click();
      return;
    }
    const response = await fetch(image.url);
    const link = el("a", { href: URL.createObjectURL(await response.blob()), download: name });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
    announce(`Saved as ${name}`);
  }
}

const fact = (name, value) => [el("div", {}, el("dt", { text: name }), el("dd", {}, value))];

const action = (symbol, text, onclick) =>
  el("button", { type: "button", class: "quiet with-icon", onclick }, icon(symbol, 16), el("span", { text }));

function tray(images, selected, pick) {
  return el(
    "div",
    { class: "tray", role: "group", "aria-label": "Pictures of this run" },
    ...images.map((image, place) =>
      el(
        "button",
        {
          type: "button",
          "aria-label": `Picture ${place + 1}`,
          "aria-pressed": String(place === selected),
          onclick: () => {
            pick(place);
            document.querySelectorAll(".tray button")[place].focus();
          },
        },
        el("img", { src: image.url, alt: "" }),
      ),
    ),
  );
}

const clock = (timestamp) => {
  const date = new Date(timestamp);
  return Number.isNaN(date.getTime()) ? "" : date.toISOString().slice(11, 23);
};
