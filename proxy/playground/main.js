// The page put together: signed out or in, one endpoint's form, one job at a time.
import { announce, byId, el } from "./dom.js";
import { entranceOf } from "./entrance.js";
import { formOf } from "./form.js";
import { historyOf } from "./history.js";
import { listingOf } from "./listing.js";
import { asDataUri } from "./picture.js";
import { stageOf } from "./result.js";
import { jobOf } from "./run.js";
import { endpointsOf, uploadsOf } from "./schema.js";
import { callerOf, surroundings } from "./session.js";
import { drawStanding } from "./standing.js";
import { fieldErrors, tell } from "./told.js";

let config = null;
let caller = null;
let endpoints = [];
let endpoint = null;
let uploads = false;
let form = null;
let job = null;
let windowLeft = null; // the tightest request window, as the last submit's answer told it
let kept = null; // what was set when a session ended

const hosted = (url, hosts) => url.startsWith("data:") || hosts.includes(new URL(url, location.href).origin);

const stage = stageOf({ on: { reuseSeed, useAsInput }, savable: (url) => hosted(url, config.upload_hosts) });
const past = historyOf(byId("past"), byId("history"), { onpick: (entry) => stage.show(entry) });
const entrance = entranceOf({ onenter: enter });
const listing = listingOf(
  () => form && { origin: location.origin, prefix: config.prefix, endpoint: endpoint.id, input: form.read(), uploads, cookie: !caller?.token },
);

async function start() {
  config = await surroundings();
  byId("sandbox-badge").hidden = !config.sandbox;
  byId("journey-end").textContent = config.sandbox ? "Sandbox" : "fal";
  byId("foot-version").textContent = `fal-auth-proxy ${config.version}`;
  if (config.user !== null) await enter(config, null);
  else await entrance.open(config);
}

async function enter(told, token) {
  config = told;
  caller = callerOf(config, token);
  const openapi = await caller.get("/openapi.json");
  endpoints = endpointsOf(openapi);
  uploads = uploadsOf(openapi);
  entrance.close();
  byId("workshop").hidden = false;
  byId("who").hidden = false;
  byId("who-name").textContent = caller.user;
  byId("who-initial").textContent = caller.user[0].toUpperCase();
  drawEndpoints();
  choose(endpoints.find((each) => each.id === endpoint?.id) ?? endpoints[0]);
  if (kept) form.write(kept);
  kept = null;
  byId("main").focus({ preventScroll: true });
  announce(`Signed in as ${caller.user}`);
  await refreshStanding();
}

async function leave() {
  caller = null;
  windowLeft = null;
  byId("workshop").hidden = true;
  byId("who").hidden = true;
  await entrance.open(config, { focus: true });
}

byId("sign-out").addEventListener("click", async () => {
  await caller.signOut();
  past.clear();
  stage.forget();
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
  form = formOf(endpoint.schema, byId("fields"));
  stage.idle(null);
  listing.draw();
}

byId("reset").addEventListener("click", () => {
  choose(endpoint);
  announce("Every field is at its default");
});

byId("form").addEventListener("input", listing.draw);
byId("form").addEventListener("change", () => {
  listing.draw();
  if (form && !running) stage.preview(form.picture()?.preview() ?? null);
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
  run();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  run();
});
byId("cancel").addEventListener("click", async () => {
  byId("cancel").disabled = true;
  announce("Cancelling");
  try {
    await job?.cancel();
  } catch (error) {
    announce(`It could not be cancelled: ${error.message}`);
    byId("cancel").disabled = false;
  }
});

let running = false;

async function run() {
  if (running || !caller || !endpoint) return;
  form.clear();
  const values = form.read();
  const wrong = Object.entries(values).filter(([, value]) => Number.isNaN(value));
  if (wrong.length) {
    blame(wrong.map(([name]) => ({ loc: [name], message: "This is not a number" })));
    return;
  }
  let ended = false;
  working(true);
  const preview = previewOf(values);
  const times = { begun: performance.now() };
  stage.begin(preview);
  announce("Sent to the gate");
  try {
    const input = uploads ? values : await inlined(values);
    job = jobOf({ caller, endpoint: endpoint.id, input, streams: endpoint.streams, say: (news) => hear(news, times) });
    const { data, requestId } = await job.result;
    const took = taken(times, performance.now());
    const entry = { endpoint: endpoint.id, input: values, result: data, requestId, preview, took };
    stage.show(entry);
    if (data.images?.length) past.add(entry);
    announce(`Done in ${(took.total / 1000).toFixed(1)} seconds`);
  } catch (error) {
    ended = error.status === 401;
    refused(error);
  } finally {
    job = null;
    working(false);
  }
  if (!ended) await refreshStanding();
}

/** An address of its own for the picture that goes in: the form may let go of it before the comparison does. */
function previewOf(values) {
  const picture = form.picture();
  const value = picture && values[picture.field.name];
  return value instanceof File ? URL.createObjectURL(value) : (picture?.preview() ?? null);
}

const taken = ({ begun, queued = begun, running: ran }, now) => ({
  total: now - begun,
  gate: queued - begun,
  queue: (ran ?? now) - queued,
  run: ran === undefined ? null : now - ran, // a short one may end between two looks at it
});

/** Files as data URIs, small enough for a request to hold them. */
async function inlined(values) {
  const limit = Math.floor(config.max_body_bytes * 0.9);
  const entries = Object.entries(values).map(async ([name, value]) => [name, value instanceof File ? await asDataUri(value, limit) : value]);
  return Object.fromEntries(await Promise.all(entries));
}

function working(yes) {
  running = yes;
  byId("run").hidden = yes;
  byId("cancel").hidden = !yes;
  byId("cancel").disabled = false;
  byId("form").setAttribute("aria-busy", String(yes));
  const lost = [document.body, byId("cancel"), null].includes(document.activeElement);
  if (yes) byId("cancel").focus({ preventScroll: true });
  else if (lost) byId("run").focus({ preventScroll: true });
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
    stage.passed("gate", "passed");
    const ahead = news.position ? `${news.position} ahead` : "next";
    stage.step("queue", ahead);
    if (times.said !== ahead) announce(`In the queue, ${ahead}`);
    times.said = ahead;
  }
  if (news.phase === "running") {
    if (!times.running) announce("Running");
    times.running ??= now;
    stage.step("run", `${((now - times.running) / 1000).toFixed(1)} s`);
  }
  if (news.phase === "logs") stage.logs(news.logs);
  if (news.phase === "standing") windowLeft = news.standing;
}

function refused(error) {
  const fields = fieldErrors(error);
  if (fields.length) {
    blame(fields);
    return;
  }
  if (error.status === 401) kept = form.read();
  const told = tell(error);
  stage.refuse(told, { again: told.wait ? run : null, onSignIn: leave });
  byId("trouble").focus();
}

/** Shows each error beside its field, and goes to the first one. */
function blame(errors) {
  const found = errors.map(({ loc, message }) => ({ ...form.blame(loc, message), message, loc }));
  const links = found.map(({ target, label, message, loc }) => ({ text: `${label ?? loc.join(".")}: ${message}`, go: () => target?.focus() }));
  const title = errors.length === 1 ? "One field needs another look" : `${errors.length} fields need another look`;
  stage.refuse({ title, todo: "Nothing was sent to the model, and nothing was taken." }, { links });
  (found.find(({ target }) => target)?.target ?? byId("trouble")).focus();
}

async function refreshStanding() {
  try {
    drawStanding(byId("standing"), await caller.get("/usage"), windowLeft);
  } catch (error) {
    if (error.status === 401) await leave();
    else announce("What is left could not be read");
  }
}

start().catch((error) => {
  byId("entrance").hidden = false;
  byId("sign-in-error").textContent = `The page could not start: ${error.message}`;
});
