// Composition of the page: sign-in, the form of one endpoint, one job at a time.
import { announce, byId, copyText } from "./dom.js";
import { createCodePanel } from "./code/code_panel.js";
import { drawQuota } from "./gateway/quota_panel.js";
import { Inspector } from "./gateway/inspector.js";
import { PricePreview } from "./gateway/price_preview.js";
import { RefusalMenu } from "./gateway/refusal_menu.js";
import { allowHosts } from "./hosts.js";
import { JobController } from "./job/job_controller.js";
import { StoredJobs } from "./job/stored_jobs.js";
import { listenForFiles } from "./form/drop_target.js";
import { replaceFiles } from "./form/file_values.js";
import { JobHistory } from "./result/job_history.js";
import { ResultView } from "./result/result_view.js";
import { parseEndpoints, parseUploads } from "./form/schema.js";
import { Caller, fetchConfig, loadFalClient } from "./session/session.js";
import { SessionChanges } from "./session/session_changes.js";
import { SignIn } from "./session/sign_in.js";
import { Who } from "./session/who.js";
import { clearAddress, formLink, readAddress, showEndpointInAddress, showJobInAddress } from "./address.js";
import { Tabs } from "./tabs.js";
import { Workshop } from "./workshop.js";

/** State of the page. *window*: the tightest request window of the last submit. *held*: the caller before a check. */
const state = { config: null, caller: null, endpoints: [], uploads: false, window: null, stored: null, held: null };
let savedValues = null; // what was set when a session ended
let listed = true; // whether the gateway lists jobs
let balance = null; // what is left in each budget, as text

const workshop = new Workshop({ onChoose: chosen });
const getState = () => ({ ...state, endpoint: workshop.endpoint, form: workshop.form });
const resultView = new ResultView({ on: { reuseSeed, useAsInput, openForm: switchTo }, takes: (kind) => workshop.takes(kind) });
const jobHistory = new JobHistory(byId("past"), byId("history"), { pick: showEntry, reuse: reuseSettings });
const inspector = new Inspector(byId("gateway-panel"));
const outcome = new Tabs(byId("outcome-tabs"), [
  { id: "result", name: "Result", panel: byId("result-panel") },
  { id: "gateway", name: "Gateway", panel: byId("gateway-panel") },
  { id: "code-tab", name: "Code", panel: byId("code-outcome") },
]);
const price = new PricePreview(byId("price"), getState);
const who = new Who();
const sessionChanges = new SessionChanges({ hold: holdSession, read: followSession });
const signIn = new SignIn({ onEnter: enter, onCookie: () => sessionChanges.report() });
const refusals = new RefusalMenu(byId("refusals"), getState, {
  begin(name, text) {
    inspector.begin(name, text);
    outcome.select("gateway");
  },
  call: (call) => inspector.add(call),
  conclude: (text) => inspector.conclude(text),
  end(summary) {
    inspector.focusRefusal();
    if (!controller.running) resultView.explain(summary, () => outcome.select("gateway", { focus: true }));
    refreshQuota();
    refreshHistory();
  },
  async follow(job) {
    const target = state.endpoints.find(({ id }) => id === job.endpoint);
    await controller.resume({ ...job, since: Date.now() }, target, { yields: true, beside: true });
  },
});
const drawCode = createCodePanel(
  () =>
    workshop.form && {
      origin: location.origin,
      prefix: state.config.prefix,
      endpoint: workshop.endpoint.id,
      input: workshop.form.read(),
      uploads: state.uploads,
      cookie: !state.caller?.token,
    },
);
const controller = new JobController({
  resultView,
  getState,
  on: {
    begin: beginJob,
    started: startedJob,
    ended: (entry) => jobHistory.add(entry),
    price: refreshHistory,
    call: observeCall,
    settled: settledJob,
    signIn: () => leave({ keep: true }),
    fields: () => workshop.showForm(),
  },
});

async function start() {
  state.config = await fetchConfig();
  byId("sandbox-badge").hidden = !state.config.sandbox;
  byId("sandbox-note").hidden = !state.config.sandbox;
  byId("journey-end").textContent = state.config.sandbox ? "Sandbox" : "fal.ai";
  byId("foot-version").textContent = `fal-auth-proxy ${state.config.version}`;
  byId("api-link").href = `${state.config.prefix}/openapi.json`;
  for (const [id, url] of [
    ["docs-link", state.config.docs_url],
    ["source-link", state.config.source_url],
    ["readme-link", state.config.readme_url],
  ]) {
    byId(id).hidden = !url;
    if (url) byId(id).href = url;
  }
  byId("source-name").hidden = Boolean(state.config.source_url);
  byId("install").textContent = state.config.install;
  byId("from-source").hidden = state.config.install !== "pip install .";
  if (state.config.user !== null) await enter(state.config, null);
  else await signIn.open(state.config);
}

// ---- session -----------------------------------------------------------------------------------------------------

async function enter(config, token) {
  const caller = new Caller(config, token);
  const openapi = await caller.get("/openapi.json");
  const endpoints = parseEndpoints(openapi);
  Object.assign(state, {
    config,
    caller,
    endpoints,
    uploads: parseUploads(openapi),
    stored: new StoredJobs(caller.user),
  });
  allowHosts(config);
  signIn.close();
  byId("workshop").hidden = false;
  // A cookie that the demo did not set is ended by the page that set it.
  byId("sign-out").hidden = !token && !config.sandbox;
  // A link sends the cookie, but no token of this tab.
  byId("api-link").hidden = Boolean(token);
  who.show(caller, config.session);
  refusals.show(state);
  price.reset();
  openForm();
  byId("main").focus({ preventScroll: true });
  announce(`Signed in as ${caller.user}`);
  await Promise.all([refreshQuota(), refreshHistory()]);
  await resumeJob();
}

/** Opens the form of the address, of the last session, or of the first endpoint. */
function openForm() {
  const { endpoint, input } = readAddress();
  workshop.open(state.endpoints, endpoint ?? workshop.endpoint?.id);
  if (savedValues) workshop.form?.write(savedValues);
  else if (input) workshop.form?.write(input);
  savedValues = null;
}

/** Ends the session in the page. *keep* saves the values of the form, and the job that runs, for the next sign-in. */
async function leave({ keep = false } = {}) {
  controller.abandon({ cancel: !keep });
  savedValues = keep ? (workshop.form?.read() ?? null) : null;
  Object.assign(state, { caller: null, window: null });
  byId("workshop").hidden = true;
  byId("api-link").hidden = true;
  who.hide();
  await signIn.open(state.config, { focus: true });
}

byId("sign-out").addEventListener("click", async () => {
  const { caller, stored } = state;
  await leave();
  await caller.signOut();
  if (!caller.token) sessionChanges.report();
  stored.clear();
  forgetWork();
  announce("Signed out");
});

/** Removes what the page shows of the user who has left. */
function forgetWork() {
  clearAddress();
  jobHistory.clear();
  workshop.forget();
  resultView.idle(null);
  inspector.begin("Calls to the gateway", "Run a model, or see a refusal.");
}

/** Stops new runs with the cookie: it may be of another user by now. */
function holdSession() {
  if (state.caller?.token) return;
  state.held = state.caller ?? state.held;
  state.caller = null;
}

/** Shows the session of the cookie, where it is not the one on show. */
async function followSession(config) {
  if (state.caller?.token) return;
  const before = state.caller ?? state.held;
  state.held = null;
  if (config.user === (before?.user ?? null) && config.session?.issuer === before?.issuer) {
    state.caller = before;
    return;
  }
  state.caller = null;
  // The job that runs is of the user who has left, so this session cannot cancel it.
  controller.abandon();
  forgetWork();
  savedValues = null;
  if (config.user === null) {
    await leave({ keep: true });
    savedValues = null;
    announce("Signed out in another tab");
    return;
  }
  await enter(config, null);
  announce(`Signed in as ${config.user} in another tab`);
}

// ---- the form ----------------------------------------------------------------------------------------------------

function chosen(endpoint) {
  if (controller.running) controller.abandon();
  resultView.idle(endpoint);
  drawCode();
  price.update();
  if (state.endpoints.length > 1 && !readAddress().job) showEndpointInAddress(endpoint.id);
}

byId("reset").addEventListener("click", () => {
  workshop.reset();
  announce("Every field is at its default");
});
byId("copy-form-link").addEventListener("click", () => {
  const link = formLink(workshop.endpoint.id, replaceFiles(workshop.form.read(), undefined));
  if (link) copyText(link, byId("copy-form-link"));
  else announce("This form is too long for a link");
});
byId("form").addEventListener("input", () => {
  drawCode();
  price.update();
});
byId("form").addEventListener("change", () => {
  drawCode();
  price.update();
  if (!controller.running) resultView.preview(workshop.form?.fileControl("image/png")?.preview() ?? null);
});
listenForFiles(() => (state.caller ? workshop.form : null));

function reuseSeed(seed) {
  if (workshop.form.set("seed", seed)) announce(`Seed ${seed} is set`);
}

function useAsInput(url) {
  workshop.form.fileControl("image/png")?.add(url);
  announce("The result is now the input");
}

/** Opens the form of a job of another endpoint, and keeps the job on show. */
function switchTo(entry) {
  workshop.choose(entry.endpoint);
  if (workshop.endpoint.id !== entry.endpoint) return announce("This endpoint is not open for you any more");
  if (Object.keys(entry.input).length) workshop.form.write(entry.input);
  if (entry.result) resultView.show(entry);
  else if (entry.requestId) controller.resume(entry, workshop.endpoint, { yields: true });
  announce(`The form of ${entry.endpoint} is open`);
}

function reuseSettings(entry) {
  workshop.choose(entry.endpoint);
  workshop.form?.write(entry.input);
  workshop.showForm();
  announce("The settings are in the form");
}

// ---- running -----------------------------------------------------------------------------------------------------

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  controller.run();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  controller.run();
});
byId("form").addEventListener("focusin", () => loadFalClient().catch(() => {}), { once: true });
byId("cancel").addEventListener("click", () => controller.cancel());

function beginJob(entry) {
  outcome.select("result");
  workshop.showResult();
  inspector.begin(`Calls of this job`, entry.endpoint);
}

function startedJob(entry) {
  state.stored?.add(entry);
  showJobInAddress(entry);
  jobHistory.add(entry);
  refreshQuota();
}

function observeCall(call) {
  inspector.add(call);
  refusals.observe(call);
  if (call.kind === "submit" && call.window) state.window = call.window;
}

async function settledJob(entry) {
  state.stored?.end(entry.requestId, entry.state);
  await Promise.all([refreshQuota(), refreshHistory()]);
  resultView.setPrice(entry);
  inspector.settled(entry);
}

/** Follows the job of the address, the one this tab left running, or the newest one that runs elsewhere. */
async function resumeJob() {
  const { job, endpoint } = readAddress();
  const stored = state.stored.list();
  const known = [...stored, ...jobHistory.entries].find(({ requestId }) => requestId === job);
  const open =
    stored.find((each) => each.open) ?? jobHistory.entries.find((each) => ["queued", "running"].includes(each.state));
  const next = job ? { ...known, requestId: job, endpoint: known?.endpoint ?? endpoint } : open;
  if (!next?.requestId || !state.caller) return;
  workshop.choose(next.endpoint);
  const target = state.endpoints.find(({ id }) => id === next.endpoint) ?? workshop.endpoint;
  const yields = !stored.some(({ requestId }) => requestId === next.requestId);
  if (target) await controller.resume({ input: {}, since: Date.now(), ...next }, target, { yields });
}

async function showEntry(entry) {
  outcome.select("result");
  if (entry.result) return resultView.show(entry);
  const target = state.endpoints.find(({ id }) => id === entry.endpoint);
  if (target) await controller.resume(entry, target, { yields: true });
}

// ---- limits and history ------------------------------------------------------------------------------------------

async function refreshQuota() {
  if (!state.caller) return;
  try {
    const usage = await state.caller.get("/usage");
    drawQuota(byId("standing"), usage, state.window);
    const before = balance;
    balance = JSON.stringify(usage.budgets.map(({ name, left }) => [name, left]));
    // The price line names what is left after the run.
    if (balance !== before) price.update();
  } catch (error) {
    if (error.status === 401) await leave({ keep: true });
    else announce("Your limits could not be read");
  }
}

async function refreshHistory() {
  if (!state.caller || !listed) return;
  try {
    const { jobs } = await state.caller.get("/jobs?limit=24");
    jobHistory.merge(jobs, state.stored.list());
  } catch (error) {
    listed = error.status !== 404; // a gateway that lists no jobs
  }
}

start().catch((error) => {
  byId("entrance").hidden = false;
  byId("sign-in-error").textContent = `The page could not start: ${error.message}`;
});
