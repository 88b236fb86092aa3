// The page put together: signed out or in, one endpoint's form, one job at a time.
import { LANGUAGES, coloured } from "./code.js";
import { announce, byId, el } from "./dom.js";
import { formOf } from "./form.js";
import { historyOf } from "./history.js";
import { asDataUri } from "./picture.js";
import { stageOf } from "./result.js";
import { jobOf } from "./run.js";
import { endpointsOf, uploadsOf } from "./schema.js";
import { callerOf, demoUsers, openDemoSession, surroundings } from "./session.js";
import { drawStanding } from "./standing.js";
import { fieldErrors, tell } from "./told.js";

const state = { config: null, caller: null, endpoints: [], endpoint: null, uploads: false, form: null, job: null, standing: null, language: 0 };
let kept = null; // what was set when a session ended

const stage = stageOf({ on: { reuseSeed, useAsInput }, savable: (url) => hosted(url, state.config.upload_hosts) });
const past = historyOf(byId("past"), byId("history"), { onpick: (entry) => stage.show(entry) });

const hosted = (url, hosts) => url.startsWith("data:") || hosts.includes(new URL(url, location.href).origin);

async function start() {
  state.config = await surroundings();
  byId("sandbox-badge").hidden = !state.config.sandbox;
  byId("journey-end").textContent = state.config.sandbox ? "Sandbox" : "fal";
  byId("foot-version").textContent = `fal-auth-proxy ${state.config.version}`;
  if (state.config.user !== null) await enter(null);
  else await leave();
}

// ---- signing in and out ------------------------------------------------------------------------------------------

async function leave({ focus = false } = {}) {
  state.caller = null;
  byId("workshop").hidden = true;
  byId("who").hidden = true;
  byId("entrance").hidden = false;
  byId("sign-in-error").textContent = "";
  const users = state.config.sandbox ? await demoUsers() : [];
  byId("demo-users").hidden = users.length === 0;
  byId("with-token").open = users.length === 0;
  byId("users").replaceChildren(
    ...users.map((user) =>
      el("button", { type: "button", class: "user", onclick: () => signInAs(user) }, el("span", { class: "avatar", "aria-hidden": "true", text: user[0].toUpperCase() }), el("span", { text: `Continue as ${user}` })),
    ),
  );
  if (focus) byId("entrance-title").focus();
}

async function signInAs(user) {
  try {
    await openDemoSession(user);
    state.config = await surroundings();
    await enter(null);
  } catch (error) {
    byId("sign-in-error").textContent = error.message;
  }
}

byId("token-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  const said = byId("token-error");
  said.textContent = "";
  const config = /^[\w-]+\.[\w-]+\.[\w-]+$/.test(token) ? await surroundings(token) : { user: null };
  if (config.user === null) {
    said.textContent = "The gate does not know this token: it may be cut, expired, or of another issuer.";
    byId("token").setAttribute("aria-invalid", "true");
    byId("token").focus();
    return;
  }
  byId("token").removeAttribute("aria-invalid");
  byId("token").value = "";
  state.config = config;
  await enter(token);
});

byId("sign-out").addEventListener("click", async () => {
  await state.caller.signOut();
  kept = null;
  past.clear();
  await leave({ focus: true });
  announce("Signed out");
});

async function enter(token) {
  state.caller = callerOf(state.config, token);
  const openapi = await state.caller.get("/openapi.json");
  state.endpoints = endpointsOf(openapi);
  state.uploads = uploadsOf(openapi);
  byId("entrance").hidden = true;
  byId("workshop").hidden = false;
  byId("who").hidden = false;
  byId("who-name").textContent = state.caller.user;
  byId("who-initial").textContent = state.caller.user[0].toUpperCase();
  drawEndpoints();
  choose(state.endpoints.find((each) => each.id === state.endpoint?.id) ?? state.endpoints[0]);
  if (kept) state.form.write(kept);
  byId("main").focus({ preventScroll: true });
  announce(`Signed in as ${state.caller.user}`);
  await refreshStanding();
}

// ---- the form ----------------------------------------------------------------------------------------------------

function drawEndpoints() {
  const only = state.endpoints.length === 1;
  const select = el(
    "select",
    { id: "endpoint-choice", onchange: () => choose(state.endpoints.find((each) => each.id === select.value)) },
    ...state.endpoints.map(({ id }) => el("option", { value: id, text: id })),
  );
  byId("endpoint").replaceChildren(
    ...(only ? [el("span", { class: "label", text: "Endpoint" }), el("code", { text: state.endpoints[0].id })] : [el("label", { class: "label", for: "endpoint-choice", text: "Endpoint" }), select]),
  );
}

function choose(endpoint) {
  if (!endpoint) {
    byId("fields").replaceChildren(el("p", { class: "notice", text: "No endpoint is open for you here." }));
    byId("run").disabled = true;
    return;
  }
  state.endpoint = endpoint;
  state.form = formOf(endpoint.schema, byId("fields"));
  stage.idle(null);
  drawCode();
}

byId("reset").addEventListener("click", () => {
  choose(state.endpoint);
  announce("Every field is at its default");
});

byId("form").addEventListener("input", drawCode);
byId("form").addEventListener("change", () => {
  drawCode();
  if (!state.job && byId("facts").hidden) stage.idle(state.form?.picture()?.preview() ?? null);
});

document.addEventListener("paste", (event) => {
  const picture = [...(event.clipboardData?.files ?? [])].find((file) => file.type.startsWith("image/"));
  if (!picture || !state.caller || !state.form?.picture()) return;
  event.preventDefault();
  state.form.picture().take(picture);
});

function reuseSeed(seed) {
  if (state.form.set("seed", seed)) announce(`Seed ${seed} is set`);
}

function useAsInput(url) {
  const picture = state.form.picture();
  if (!picture) return;
  picture.write(url, hosted(url, state.config.picture_hosts) ? url : null);
  announce("The result is now the input");
}

// ---- running -----------------------------------------------------------------------------------------------------

byId("form").addEventListener("submit", (event) => {
  event.preventDefault();
  run();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    event.preventDefault();
    run();
  }
});
byId("cancel").addEventListener("click", async () => {
  byId("cancel").disabled = true;
  announce("Cancelling");
  try {
    await state.job.cancel();
  } catch (error) {
    announce(`It could not be cancelled: ${error.message}`);
    byId("cancel").disabled = false;
  }
});

async function run() {
  if (state.job || !state.caller) return;
  state.form.clear();
  const values = state.form.read();
  const wrong = Object.entries(values).filter(([, value]) => Number.isNaN(value));
  if (wrong.length) return blame(wrong.map(([name]) => ({ loc: [name], message: "This is not a number" })), "Something is not a number");
  const preview = state.form.picture()?.preview() ?? null;
  // The form may let go of its picture before the comparison does.
  const before = preview?.startsWith("blob:") ? URL.createObjectURL(values[state.form.picture().field.name]) : preview;
  const times = { begun: performance.now() };
  working(true);
  stage.begin(before);
  stage.step("gate", "checking");
  announce("Sent to the gate");
  try {
    const input = state.uploads ? values : await inlined(values);
    state.job = jobOf({ caller: state.caller, endpoint: state.endpoint.id, input, streams: state.endpoint.streams, say: (news) => hear(news, times) });
    const { data, requestId } = await state.job.result;
    const now = performance.now();
    const took = { total: now - times.begun, queue: (times.running ?? now) - (times.queued ?? times.begun), run: now - (times.running ?? now) };
    const entry = { endpoint: state.endpoint.id, input: values, result: data, requestId, preview: before, took };
    stage.show(entry);
    if (data.images?.length) past.add(entry);
    announce(`Done in ${(took.total / 1000).toFixed(1)} seconds`);
  } catch (error) {
    refused(error);
  } finally {
    state.job = null;
    working(false);
  }
  await refreshStanding();
}

/** Files as data URIs, small enough for a request to hold them. */
async function inlined(values) {
  const limit = Math.floor(state.config.max_body_bytes * 0.9);
  const entries = Object.entries(values).map(async ([name, value]) => [name, value instanceof File ? await asDataUri(value, limit) : value]);
  return Object.fromEntries(await Promise.all(entries));
}

function working(yes) {
  byId("run").hidden = yes;
  byId("cancel").hidden = !yes;
  byId("cancel").disabled = false;
  byId("form").setAttribute("aria-busy", String(yes));
  if (yes) byId("cancel").focus({ preventScroll: true });
  else if (document.activeElement === document.body || document.activeElement === byId("cancel")) byId("run").focus({ preventScroll: true });
}

function hear(news, times) {
  const now = performance.now();
  if (news.phase === "uploading") stage.step("gate", news.part > 1 ? `uploading, part ${news.part}` : "uploading");
  if (news.phase === "sending") stage.step("gate", "checking");
  if (news.phase === "waiting") {
    stage.step("gate", news.status === 429 ? "asked to slow down" : "trying again");
    announce("The gate asked to wait; trying again");
  }
  if (news.phase === "queued") {
    times.queued ??= now;
    const ahead = news.position ? `${news.position} ahead` : "next";
    stage.step("queue", ahead);
    if (times.told !== ahead) announce(`In the queue, ${ahead}`);
    times.told = ahead;
  }
  if (news.phase === "running") {
    if (!times.running) announce("Running");
    times.running ??= now;
    stage.step("run");
  }
  if (news.phase === "logs") stage.logs(news.logs);
  if (news.phase === "standing") state.standing = news.standing;
}

function refused(error) {
  const fields = fieldErrors(error);
  if (fields.length) return blame(fields, fields.length === 1 ? "One field needs another look" : `${fields.length} fields need another look`);
  if (error.status === 401) kept = state.form.read();
  const told = tell(error);
  stage.refuse(told, { again: told.wait ? run : null, onSignIn: () => leave({ focus: true }) });
  return byId("trouble").focus({ preventScroll: false });
}

/** Shows each error beside its field, and goes to the first one. */
function blame(errors, title) {
  const found = errors.map(({ loc, message }) => ({ ...state.form.blame(loc, message), message, loc }));
  const links = found.map(({ target, label, message, loc }) => ({ text: `${label ?? loc.join(".")}: ${message}`, go: () => target?.focus() }));
  stage.refuse({ title, todo: "Nothing was sent to the model, and nothing was taken." }, { links });
  (found.find(({ target }) => target)?.target ?? byId("trouble")).focus();
}

// ---- what is left, and the code ------------------------------------------------------------------------------------

async function refreshStanding() {
  try {
    drawStanding(byId("standing"), await state.caller.get("/usage"), state.standing);
  } catch (error) {
    if (error.status !== 401) throw error;
    await leave({ focus: true });
  }
}

function drawCode() {
  if (!state.form) return;
  const { origin } = location;
  const given = { origin, prefix: state.config.prefix, endpoint: state.endpoint.id, input: state.form.read(), uploads: state.uploads, cookie: !state.caller?.token };
  byId("code").replaceChildren(...coloured(LANGUAGES[state.language].write(given)));
}

function drawLanguages() {
  const tabs = LANGUAGES.map(({ id, name }, place) =>
    el("button", { type: "button", role: "tab", id: `tab-${id}`, "aria-controls": "code-panel", "aria-selected": String(place === state.language), tabindex: place === state.language ? "0" : "-1", text: name, onclick: () => speak(place) }),
  );
  byId("languages").replaceChildren(...tabs);
  byId("code-panel").setAttribute("aria-labelledby", `tab-${LANGUAGES[state.language].id}`);
}

function speak(place) {
  state.language = place;
  drawLanguages();
  byId(`tab-${LANGUAGES[place].id}`).focus();
  drawCode();
}

byId("languages").addEventListener("keydown", (event) => {
  const last = LANGUAGES.length - 1;
  const to = { ArrowRight: state.language === last ? 0 : state.language + 1, ArrowLeft: state.language === 0 ? last : state.language - 1, Home: 0, End: last }[event.key];
  if (to === undefined) return;
  event.preventDefault();
  speak(to);
});

byId("copy").addEventListener("click", async () => {
  try {
    await navigator.clipboard.writeText(byId("code").textContent);
    byId("copy").textContent = "Copied";
    announce("The code is on the clipboard");
  } catch {
    getSelection().selectAllChildren(byId("code"));
    announce("The code is selected; copy it from there");
  }
  setTimeout(() => (byId("copy").textContent = "Copy"), 1600);
});

drawLanguages();
start().catch((error) => {
  byId("entrance").hidden = false;
  byId("sign-in-error").textContent = `The page could not start: ${error.message}`;
});
