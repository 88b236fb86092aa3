// The tabs with the code, kept in step with the form.
import { LANGUAGES, coloured } from "./code.js";
import { announce, byId, el } from "./dom.js";

const SHOWN_FOR = 1600; // milliseconds that "Copied" stands on the button

/** *given()* says what the code is to be about; `draw` writes it anew. */
export function listingOf(given) {
  const list = byId("languages");
  const code = byId("code");
  const copy = byId("copy");
  let chosen = 0;

  function draw() {
    const about = given();
    if (about) code.replaceChildren(...coloured(LANGUAGES[chosen].write(about)));
  }

  function drawTabs() {
    list.replaceChildren(
      ...LANGUAGES.map(({ id, name }, place) =>
        el("button", {
          type: "button",
          role: "tab",
          id: `tab-${id}`,
          "aria-controls": "code-panel",
          "aria-selected": String(place === chosen),
          tabindex: place === chosen ? "0" : "-1",
          text: name,
          onclick: () => choose(place),
        }),
      ),
    );
    byId("code-panel").setAttribute("aria-labelledby", `tab-${LANGUAGES[chosen].id}`);
  }

  function choose(place) {
    chosen = place;
    drawTabs();
    draw();
    byId(`tab-${LANGUAGES[place].id}`).focus();
  }

  list.addEventListener("keydown", (event) => {
    const last = LANGUAGES.length - 1;
    const next = chosen === last ? 0 : chosen + 1;
    const previous = chosen === 0 ? last : chosen - 1;
    const to = { ArrowRight: next, ArrowLeft: previous, Home: 0, End: last }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    choose(to);
  });

  copy.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
      announce("The code is on the clipboard");
    } catch {
      getSelection().selectAllChildren(code);
      announce("The code is selected; copy it from there");
    }
    setTimeout(() => (copy.textContent = "Copy"), SHOWN_FOR);
  });

  drawTabs();
  return { draw };
}
