// From the Run button to what came of it: one job at a time, told on the stage and to a screen reader.
import { announce, byId } from "./dom.js";
import { asDataUri } from "./picture.js";
import { jobOf } from "./run.js";
import { fieldErrors, tell } from "./told.js";

const BODY_SHARE = 0.9; // of what the gate takes, for the picture; the rest is for everything else

/**
 * *given()*: `{config, caller, endpoint, form, uploads}` as they stand. *on*: `made(entry)` for a result, `window(left)`
 * for the tightest request window, `settled()` once it is over, `signIn()` where the session has ended.
 */
export function workOf({ stage, given, on }) {
  let job = null;
  let running = false;
  let turn = 0; // a job of an earlier turn was abandoned: nothing of it is shown

  async function run() {
    const { caller, endpoint, form } = given();
    if (running || !caller || !endpoint) return;
    form.clear();
    const values = form.read();
    const wrong = Object.entries(values).filter(([, value]) => Number.isNaN(value));
    if (wrong.length) {
      blame(wrong.map(([name]) => ({ loc: [name], message: "This is not a number" })));
      return;
    }
    const mine = ++turn;
    working(true);
    const preview = previewOf(form, values);
    stage.begin(preview);
    announce("Sent to the gate");
    try {
      const entry = await made(values, (news, times) => mine === turn && hear(news, times));
      if (mine !== turn) return;
      stage.show({ ...entry, preview });
      on.made({ ...entry, preview });
      announce(`Done in ${(entry.took.total / 1000).toFixed(1)} seconds`);
    } catch (error) {
      if (mine === turn) refused(error);
      if (error.status === 401) return;
    } finally {
      if (mine === turn) working(false);
    }
    if (mine === turn) on.settled();
  }

  async function made(values, say) {
    const { config, caller, endpoint, uploads } = given();
    const times = { begun: performance.now() };
    const input = uploads ? values : await inlined(values, Math.floor(config.max_body_bytes * BODY_SHARE));
    job = jobOf({ caller, endpoint: endpoint.id, input, streams: endpoint.streams, say: (news) => say(news, times) });
    const { data, requestId } = await job.result;
    return { endpoint: endpoint.id, input: values, result: data, requestId, took: taken(times, performance.now()) };
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
    switch (news.phase) {
      case "uploading":
        stage.step("gate", news.part > 1 ? `uploading, part ${news.part}` : "uploading");
        break;
      case "sending":
        stage.step("gate", "checking");
        break;
      case "waiting":
        stage.step("gate", news.status === 429 ? "asked to slow down" : "trying again");
        announce("The gate asked to wait; trying again");
        break;
      case "queued":
        queued(news, times, now);
        break;
      case "running":
        if (!times.running) announce("Running");
        times.running ??= now;
        stage.step("run", `${((now - times.running) / 1000).toFixed(1)} s`);
        break;
      case "logs":
        stage.logs(news.logs);
        break;
      case "standing":
        on.window(news.standing);
    }
  }

  function queued(news, times, now) {
    times.queued ??= now;
    stage.passed("gate", "passed");
    const ahead = news.position ? `${news.position} ahead` : "next";
    stage.step("queue", ahead);
    if (times.said !== ahead) announce(`In the queue, ${ahead}`);
    times.said = ahead;
  }

  function refused(error) {
    const fields = fieldErrors(error);
    if (fields.length) {
      blame(fields, { byModel: Boolean(error.requestId) });
      return;
    }
    const told = tell(error);
    stage.refuse(told, { again: told.wait ? run : null, onSignIn: on.signIn });
    byId("trouble").focus();
  }

  /** Shows each error beside its field, and goes to the first one. */
  function blame(errors, { byModel = false } = {}) {
    const { form } = given();
    const found = errors.map(({ loc, message }) => ({ ...form.blame(loc, message), message, loc }));
    const links = found.map(({ target, label, message, loc }) => ({
      text: `${label ?? loc.join(".")}: ${message}`,
      go: () => target?.focus(),
    }));
    const title = errors.length === 1 ? "One field needs another look" : `${errors.length} fields need another look`;
    const todo = byModel
      ? "The gate let this pass; the model itself did not take it."
      : "Nothing was sent to the model, and nothing was taken.";
    stage.refuse({ title, todo }, { links });
    (found.find(({ target }) => target)?.target ?? byId("trouble")).focus();
  }

  return {
    run,
    cancel,
    running: () => running,
    /** Stops what runs, and shows nothing more of it: its caller has left. */
    abandon() {
      turn += 1;
      if (running) job?.cancel().catch(() => {});
      working(false);
    },
  };
}

/** An address of its own for the picture that goes in: the form may let go of it before the comparison does. */
function previewOf(form, values) {
  const picture = form.picture();
  const value = picture && values[picture.field.name];
  return value instanceof File ? URL.createObjectURL(value) : (picture?.preview() ?? null);
}

const taken = ({ begun, queued = begun, running }, now) => ({
  total: now - begun,
  gate: queued - begun,
  queue: (running ?? now) - queued,
  run: running === undefined ? null : now - running, // a short one may end between two looks at it
});

/** Files as data URIs of at most *limit* bytes. */
async function inlined(values, limit) {
  const entries = Object.entries(values).map(async ([name, value]) => [
    name,
    value instanceof File ? await asDataUri(value, limit) : value,
  ]);
  return Object.fromEntries(await Promise.all(entries));
}
