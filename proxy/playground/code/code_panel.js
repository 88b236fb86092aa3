// Code panel: tabs with code samples that follow the form.
import { byId, copyText } from "../dom.js";
import { Tabs } from "../tabs.js";
import { LANGUAGES, highlight } from "./code_samples.js";

/** Returns a function that writes the selected sample again. *getState()* returns the values for the samples. */
export function createCodePanel(getState) {
  const code = byId("code");
  const panel = byId("code-panel");
  const copy = byId("copy");
  let tabs = null;

  function draw() {
    const state = getState();
    const language = LANGUAGES.find(({ id }) => id === (tabs?.selected ?? LANGUAGES[0].id));
    if (state) code.replaceChildren(...highlight(language.write(state)));
  }

  const items = LANGUAGES.map(({ id, name }) => ({ id, name, panel }));
  tabs = new Tabs(byId("languages"), items, draw);
  copy.addEventListener("click", () => copyText(code.textContent, copy, code));
  return draw;
}
