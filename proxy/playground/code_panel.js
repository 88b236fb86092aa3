// Code panel: tabs with code samples that follow the form.
import { LANGUAGES, highlight } from "./code_samples.js";
import { announce, byId, el } from "./dom.js";

const SHOWN_FOR = 1600; // milliseconds that "Copied" stands on the button

/** *getState()* returns the values for the samples; `draw` writes the selected sample again. */
export function createCodePanel(getState) {
  const list = byId("languages");
  const code = byId("code");
  const copy = byId("copy");
  let selected = 0;

  function draw() {
    const about = getState();
    if (about) code.replaceChildren(...highlight(LANGUAGES[selected].write(about)));
  }

  function drawTabs() {
    list.replaceChildren(
      ...LANGUAGES.map(({ id, name }, place) =>
        el("button", {
          type: "button",
          role: "tab",
          id: `tab-${id}`,
          "aria-controls": "code-panel",
          "aria-selected": String(place === selected),
          tabindex: place === selected ? "0" : "-1",
          text: name,
          onclick: () => choose(place),
        }),
      ),
    );
    byId("code-panel").setAttribute("aria-labelledby", `tab-${LANGUAGES[selected].id}`);
  }

  function choose(place) {
    selected = place;
    drawTabs();
    draw();
    byId(`tab-${LANGUAGES[place].id}`).focus();
  }

  list.addEventListener("keydown", (event) => {
    const last = LANGUAGES.length - 1;
    const next = selected === last ? 0 : selected + 1;
    const previous = selected === 0 ? last : selected - 1;
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
