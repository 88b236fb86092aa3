// The page put together: signed out or in, one endpoint's form, one job at a time.
import { announce, byId, el } from "./dom.js";
import { entranceOf } from "./entrance.js";
import { formOf } from "./form.js";
import { historyOf } from "./history.js";
import { listingOf } from "./listing.js";
import { stageOf } from "./result.js";
import { endpointsOf, uploadsOf } from "./schema.js";
import { callerOf, surroundings } from "./session.js";
import { drawStanding } from "./standing.js";
import { workOf } from "./work.js";

let config = null;
let caller = null;
let endpoints = [];
let endpoint = null;
let uploads = false;
let form = null;
let windowLeft = null; // the tightest request window, as the last submit's answer told it
let kept = null; // what was set when a session ended

const hosted = (url, hosts) => url.startsWith("data:") || hosts.includes(new URL(url, location.href).origin);

const stage = stageOf({ on: { reuseSeed, useAsInput }, savable: (url) => hosted(url, config.upload_hosts) });
const past = historyOf(byId("past"), byId("history"), { onpick: (entry) => stage.show(entry) });
const entrance = entranceOf({ onenter: enter });
const work = workOf({
  stage,
  given: () => ({ config, caller, endpoint, form, uploads }),
  on: {
    made: (entry) => entry.result.images?.length && past.add(entry),
    window: (left) => (windowLeft = left),
    settled: refreshStanding,
    signIn: () => leave({ keep: true }),
  },
});
const listing = listingOf(
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
  // A cookie that is not the demo's is another page's to end.
  byId("sign-out").hidden = !token && !config.sandbox;
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

/** *keep*: the same person will be back, with what they had set here. */
async function leave({ keep = false } = {}) {
  work.abandon();
  kept = keep ? form.read() : null;
  caller = null;
  windowLeft = null;
  byId("workshop").hidden = true;
  byId("who").hidden = true;
  await entrance.open(config, { focus: true });
}

byId("sign-out").addEventListener("click", async () => {
  work.abandon();
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
  if (form && !work.running()) stage.preview(form.picture()?.preview() ?? null);
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
  work.run();
});
byId("form").addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  work.run();
});
byId("cancel").addEventListener("click", work.cancel);

async function refreshStanding() {
  if (!caller) return;
  try {
    drawStanding(byId("standing"), await caller.get("/usage"), windowLeft);
  } catch (error) {
    if (error.status === 401) await leave({ keep: true });
    else announce("What is left could not be read");
  }
}

start().catch((error) => {
  byId("entrance").hidden = false;
  byId("sign-in-error").textContent = `The page could not start: ${error.message}`;
});
