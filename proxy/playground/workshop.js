// The form side of the page: choice of the endpoint, its form, and the switch between form and result on a phone.
import { byId, el } from "./dom.js";
import { Form } from "./form/form.js";

export class Workshop {
  endpoint = null;
  form = null;
  #endpoints = [];
  #onChoose;

  /** Creates the form side. *onChoose(endpoint)* is called after each new form. */
  constructor({ onChoose }) {
    this.#onChoose = onChoose;
    byId("show-form").addEventListener("click", () => this.showForm());
    byId("show-result").addEventListener("click", () => this.showResult());
  }

  /** Shows *endpoints*, and the form of *id* or of the first one. */
  open(endpoints, id) {
    this.#endpoints = endpoints;
    this.#drawChoice();
    this.endpoint = null;
    this.#set(endpoints.find((each) => each.id === id) ?? endpoints[0]);
  }

  /** Changes to the endpoint *id*. What was set and fits is set in the new form too. */
  choose(id) {
    const next = this.#endpoints.find((each) => each.id === id);
    if (!next || next === this.endpoint) return;
    const values = this.form?.read() ?? {};
    this.#set(next);
    this.form.adopt(values);
  }

  reset() {
    this.#set(this.endpoint);
  }

  forget() {
    this.endpoint = null;
    this.form = null;
  }

  takes(kind) {
    return Boolean(this.form?.fileControl(`${kind}/*`));
  }

  #drawChoice() {
    const first = this.#endpoints[0]?.id ?? "none";
    const options = this.#endpoints.map(({ id }) => el("option", { value: id, text: id }));
    const select = el("select", { id: "endpoint-choice", onchange: () => this.choose(select.value) }, ...options);
    const only = [el("span", { class: "label", text: "Endpoint" }), el("code", { text: first })];
    const several = [el("label", { class: "label", for: select.id, text: "Endpoint" }), select];
    byId("endpoint").replaceChildren(...(this.#endpoints.length > 1 ? several : only));
  }

  #set(endpoint) {
    byId("run").disabled = !endpoint;
    if (!endpoint) {
      byId("fields").replaceChildren(el("p", { class: "notice", text: "No endpoint is open for you here." }));
      return;
    }
    this.endpoint = endpoint;
    const choice = byId("endpoint-choice");
    if (choice) choice.value = endpoint.id;
    this.form = new Form(endpoint.schema, byId("fields"));
    this.#onChoose(endpoint);
  }

  // On a narrow screen one of the two is shown; on a wide one both are, whatever is set here.
  showForm() {
    this.#show("form");
  }

  showResult() {
    this.#show("result");
  }

  #show(side) {
    byId("workshop").dataset.side = side;
    byId("show-form").setAttribute("aria-pressed", String(side === "form"));
    byId("show-result").setAttribute("aria-pressed", String(side === "result"));
    if (matchMedia("(max-width: 699px)").matches) scrollTo({ top: 0 });
  }
}
