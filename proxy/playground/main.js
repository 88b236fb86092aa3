// Composition of the page: sign-in, the form of one endpoint, one job at a time.
import { announce, byId, el } from "./dom.js";
import { createSignIn } from "./sign_in.js";
import { createForm } from "./form.js";
import { createHistory } from "./history.js";
import { createCodePanel } from "./code_panel.js";
import { createResultView } from "./result_view.js";
import { parseEndpoints, parseUploads } from "./schema.js";
import { createCaller, fetchConfig } from "./session.js";
import { drawQuota } from "./quota_panel.js";
import { createJobController } from "./job_controller.js";

let config = null;
let caller = null;
let endpoints = [];
let endpoint = null;
let uploads = false;
let form = null;
let windowLeft = null; // the tightest request window, as the last submit's response reported it
let savedValues = null; // what was set when a session ended

const hosted = (url, hosts) => url.startsWith("data:") || hosts.includes(new URL(url, location.href).origin);

const resultView = createResultView({ on: { reuseSeed, useAsInput }, savable: (url) => hosted(url, config.upload_hosts) });
const historyList = createHistory(byId("past"), byId("history"), { onpick: (entry) => resultView.show(entry) });
const signIn = createSignIn({ onEnter: enter });
const jobController = createJobController({
  resultView,
  getState: () => ({ config, caller, endpoint, form, uploads }),
  on: {
    made: (entry) => entry.result.images?.length && historyList.add(entry),
    window: (left) => (windowLeft = left),
    settled: refreshQuota,
    signIn: () => leave({ keep: true }),
  },
});
const codePanel = createCodePanel(
  () =>
    form && {
      origin: location.origin,
      prefix: config.prefix,
      endpoint: endpoint.id,
      input: form.read(),
      uploads,
      cookie: !caller?.token,
    },
);

async function start() {
  config = await fetchConfig();
  byId("sandbox-badge").hidden = !config.sandbox;
  byId("journey-end").textContent = config.sandbox ? "Sandbox" : "fal";
  byId("foot-version").textContent = `fal-auth-proxy ${config.version}`;
  if (config.user !== null) await enter(config, null);
  else await signIn.open(config);
}

async function enter(newConfig, token) {
  config = newConfig;
  caller = createCaller(config, token);
  const openapi = await caller.get("/openapi.json");
  endpoints = parseEndpoints(openapi);
  uploads = parseUploads(openapi);
  signIn.close();
  byId("workshop").hidden = false;
  byId("who").hidden = false;
  // A cookie that the demo did not set is ended by the page that set it.
  byId("sign-out").hidden = !token && !config.sandbox;
  byId("who-name").textContent = caller.user;
  byId("who-initial").textContent = caller.user[0].toUpperCase();
  drawEndpoints();
  choose(endpoints.find((each) => each.id === endpoint?.id) ?? endpoints[0]);
  if (savedValues) form.write(savedValues);
  savedValues = null;
  byId("main").focus({ preventScroll: true });
  announce(`Signed in as ${caller.user}`);
  await refreshQuota();
}

/** *keep* saves the values of the form for the next sign-in. */
async function leave({ keep = false } = {}) {
  jobController.abandon();
  savedValues = keep ? form.read() : null;
  caller = null;
  windowLeft = null;
  byId("workshop").hidden = true;
  byId("who").hidden = true;
  await signIn.open(config, { focus: true });
}

byId("sign-out").addEventListener("click", async () => {
  jobController.abandon();
  await caller.signOut();
  historyList.clear();
  resultView.forget();
  await leave();
  announce("Signed out");
});

// ---- the form ----------------------------------------------------------------------------------------------------

function drawEndpoints() {
  const select = el(
    "select",
    { id: "endpoint-choice", onchange: () => choose(endpoints.find((each) => each.id === select.value)) },
    ...endpoints.map(({ id }) => el("option", { value: id, text: id })),
  );
  const only = [el("span", { class: "label", text: "Endpoint" }), el("code", { text: endpoints[0]?.id ?? "none" })];
  const several = [el("label", { class: "label", for: select.id, text: "Endpoint" }), select];
  byId("endpoint").replaceChildren(...(endpoints.length > 1 ? several : only));
}

function choose(next) {
  byId("run").disabled = !next;
  if (!next) {
    byId("fields").replaceChildren(el("p", { class: "notice", text: "No endpoint is open for you here." }));
    return;
  }
  endpoint = next;
  form = createForm(endpoint.schema, byId("fields"));
  resultView.idle(null);
  codePanel.draw();
}

byId("reset").addEventListener("click", () => {
  choose(endpoint);
  announce("Every field is at its default");
});

byId("form").addEventListener("input", codePanel.draw);
byId("form").addEventListener("change", () => {
  codePanel.draw();
  if (form && !jobController.running()) resultView.preview(form.picture()?.preview() ?? null);
});

document.addEventListener("paste", (event) => {
  const picture = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (!picture || !caller || !form?.picture()) return;
  event.preventDefault();
  form.picture().take(picture);
});

function reuseSeed(seed) {
  if (form.set("seed", seed)) announce(`Seed ${seed} is set`);
}

function useAsInput(url) {
  const picture = form.picture();
  if (!picture) return;
  picture.write(url, hosted(url, config.picture_hosts) ? url : null);
  announce("The result is now the input");
}

// ---- running -----------------------------------------------------------------------------------------------------

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  jobController.run();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  jobController.run();
});
byId("cancel").addEventListener("click", jobController.cancel);

async function refreshQuota() {
  if (!caller) return;
  try {
    drawQuota(byId("standing"), await caller.get("/usage"), windowLeft);
  } catch (error) {
    if (error.status === 401) await leave({ keep: true });
    else announce("What is left could not be read");
  }
}

start().catch((error) => {
  byId("entrance").hidden = false;
  byId("sign-in-error").textContent = `The page could not start: ${error.message}`;
});
