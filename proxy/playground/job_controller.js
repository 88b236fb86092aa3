// Control of one job at a time: run, progress, result, errors; announced to screen readers.
import { announce, byId } from "./dom.js";
import { asDataUri } from "./image_field.js";
import { createFalJob } from "./fal_job.js";
import { fieldErrors, describeError } from "./error_messages.js";

const BODY_SHARE = 0.9; // share of the gateway's body limit for the image; the rest is for other fields

/**
 * *getState()* returns `{config, caller, endpoint, form, uploads}`. *on*: `made(entry)` for a result, `window(left)` for
 * the tightest request window, `settled()` after the end, `signIn()` after the end of the session.
 */
export function createJobController({ resultView, getState, on }) {
  let job = null;
  let running = false;
  let turn = 0; // jobs of earlier turns were abandoned and are not shown

  async function run() {
    const { caller, endpoint, form } = getState();
    if (running || !caller || !endpoint) return;
    form.clear();
    const values = form.read();
    const wrong = Object.entries(values).filter(([, value]) => Number.isNaN(value));
    if (wrong.length) {
      blame(wrong.map(([name]) => ({ loc: [name], message: "This is not a number" })));
      return;
    }
    const mine = ++turn;
    setRunning(true);
    const preview = previewOf(form, values);
    resultView.begin(preview);
    announce("Sent to the gateway");
    try {
      const entry = await runJob(values, (event, times) => mine === turn && handleEvent(event, times));
      if (mine !== turn) return;
      resultView.show({ ...entry, preview });
      on.made({ ...entry, preview });
      announce(`Done in ${(entry.took.total / 1000).toFixed(1)} seconds`);
    } catch (error) {
      if (mine === turn) showError(error);
      if (error.status === 401) return;
    } finally {
      if (mine === turn) setRunning(false);
    }
    if (mine === turn) on.settled();
  }

  async function runJob(values, onEvent) {
    const { config, caller, endpoint, uploads } = getState();
    const times = { begun: performance.now() };
    const input = uploads ? values : await inlined(values, Math.floor(config.max_body_bytes * BODY_SHARE));
    job = createFalJob({ caller, endpoint: endpoint.id, input, streams: endpoint.streams, onEvent: (event) => onEvent(event, times) });
    const { data, requestId } = await job.result;
    return { endpoint: endpoint.id, input: values, result: data, requestId, took: durations(times, performance.now()) };
  }

  async function cancel() {
    byId("cancel").disabled = true;
    announce("Cancelling");
    try {
      await job?.cancel();
    } catch (error) {
      announce(`It could not be cancelled: ${error.message}`);
      byId("cancel").disabled = false;
    }
  }

  function setRunning(yes) {
    running = yes;
    byId("run").hidden = yes;
    byId("cancel").hidden = !yes;
    byId("cancel").disabled = false;
    byId("form").setAttribute("aria-busy", String(yes));
    const lost = [document.body, byId("cancel"), null].includes(document.activeElement);
    if (yes) byId("cancel").focus({ preventScroll: true });
    else if (lost) byId("run").focus({ preventScroll: true });
  }

  function handleEvent(event, times) {
    const now = performance.now();
    switch (event.phase) {
      case "uploading":
        resultView.step("gate", event.part > 1 ? `uploading, part ${event.part}` : "uploading");
        break;
      case "sending":
        resultView.step("gate", "checking");
        break;
      case "waiting":
        resultView.step("gate", event.status === 429 ? "asked to slow down" : "trying again");
        announce("The gateway sent Retry-After; trying again");
        break;
      case "queued":
        queued(event, times, now);
        break;
      case "running":
        if (!times.running) announce("Running");
        times.running ??= now;
        resultView.step("run", `${((now - times.running) / 1000).toFixed(1)} s`);
        break;
      case "logs":
        resultView.logs(event.logs);
        break;
      case "quota":
        on.window(event.quota);
    }
  }

  function queued(event, times, now) {
    times.queued ??= now;
    resultView.passed("gate", "passed");
    const ahead = event.position ? `${event.position} ahead` : "next";
    resultView.step("queue", ahead);
    if (times.announced !== ahead) announce(`In the queue, ${ahead}`);
    times.announced = ahead;
  }

  function showError(error) {
    const fields = fieldErrors(error);
    if (fields.length) {
      blame(fields, { byModel: Boolean(error.requestId) });
      return;
    }
    const description = describeError(error);
    resultView.refuse(description, { again: description.wait ? run : null, onSignIn: on.signIn });
    byId("trouble").focus();
  }

  /** Shows each error beside its field, and goes to the first one. */
  function blame(errors, { byModel = false } = {}) {
    const { form } = getState();
    const targets = errors.map(({ loc, message }) => ({ ...form.blame(loc, message), message, loc }));
    const links = targets.map(({ target, label, message, loc }) => ({
      text: `${label ?? loc.join(".")}: ${message}`,
      go: () => target?.focus(),
    }));
    const title = errors.length === 1 ? "One field needs another look" : `${errors.length} fields need another look`;
    const todo = byModel
      ? "The gateway admitted this; the model itself rejected it."
      : "Nothing was sent to the model, and nothing was taken.";
    resultView.refuse({ title, todo }, { links });
    (targets.find(({ target }) => target)?.target ?? byId("trouble")).focus();
  }

  return {
    run,
    cancel,
    running: () => running,
    /** Stops what runs, and shows nothing more of it: its caller has left. */
    abandon() {
      turn += 1;
      if (running) job?.cancel().catch(() => {});
      setRunning(false);
    },
  };
}

/** Returns a URL of its own for the input image: the form may revoke its URL before the comparison is closed. */
function previewOf(form, values) {
  const picture = form.picture();
  const value = picture && values[picture.field.name];
  return value instanceof File ? URL.createObjectURL(value) : (picture?.preview() ?? null);
}

const durations = ({ begun, queued = begun, running }, now) => ({
  total: now - begun,
  gate: queued - begun,
  queue: (running ?? now) - queued,
  run: running === undefined ? null : now - running, // a short run may end between two polls
});

/** Files as data URIs of at most *limit* bytes. */
async function inlined(values, limit) {
  const entries = Object.entries(values).map(async ([name, value]) => [
    name,
    value instanceof File ? await asDataUri(value, limit) : value,
  ]);
  return Object.fromEntries(await Promise.all(entries));
}
