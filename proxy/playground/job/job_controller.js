// Control of one job at a time: run, resume, progress, result, errors; announced to screen readers.
import { announce, byId } from "../dom.js";
import { inlineFiles } from "../form/file_values.js";
import { wrongNumbers } from "../form/form.js";
import { cheaperAdvice } from "./cheaper_advice.js";
import { FalJob } from "./fal_job.js";
import { JobTimes } from "./job_times.js";
import { describeError, describeLost, fieldErrors } from "./error_messages.js";

const BODY_SHARE = 0.9; // share of the gateway's body limit for files; the rest is for other fields
const TITLE = document.title;

/**
 * Controller of the page's job. *getState()* returns `{config, caller, endpoint, form, uploads, stored}`. *on*: `begin(entry)` before a run,
 * `call(call)` for each call, `started(entry)` once fal accepted it, `ended(entry)` for each end, `price(entry)` to read
 * what a failed job cost, `settled(entry)` after the end, `signIn()` after the end of the session, and `fields()` before
 * the focus goes to a field.
 */
export class JobController {
  #resultView;
  #getState;
  #on;
  #job = null;
  #turn = 0; // jobs of earlier turns were abandoned and are not shown
  #yields = false; // whether the job on show was started elsewhere, so that Run may leave it
  running = false;

  constructor({ resultView, getState, on }) {
    this.#resultView = resultView;
    this.#getState = getState;
    this.#on = on;
  }

  async run() {
    const { caller, endpoint, form } = this.#getState();
    if ((this.running && !this.#yields) || !caller || !endpoint) return;
    if (this.running) this.abandon();
    form.clearErrors();
    const values = form.read();
    const wrong = wrongNumbers(values);
    if (wrong.length) return this.#blame(wrong.map((loc) => ({ loc, message: "This is not a number" })));
    announce("Sent to the gateway");
    this.#yields = false;
    await this.#carryOut({ endpoint, values, preview: previewOf(form, values) });
  }

  /**
   * Follows a job that runs, or shows one that has ended. *job*: `{requestId, input, since, price}`. With *yields* the user may
   * start another one meanwhile. With *beside* the inspector keeps the calls that it shows, and its tab.
   */
  async resume(job, endpoint, { yields = false, beside = false } = {}) {
    if (this.running) return;
    this.#yields = yields;
    if (!beside) announce("Checking your job");
    const { input: values = {}, requestId, since = Date.now(), price } = job;
    await this.#carryOut({ endpoint, values, preview: null, requestId, since, price, beside });
  }

  /** *facts*: `{preview}`, and `{requestId, since, price}` of a job that was started before. */
  async #carryOut({ endpoint, values, beside = false, ...facts }) {
    const mine = ++this.#turn;
    const entry = { requestId: null, since: Date.now(), ...facts, endpoint: endpoint.id, input: values, state: "running" };
    this.#setRunning(true);
    if (!beside) this.#on.begin(entry);
    this.#resultView.begin(entry);
    try {
      await this.#complete(entry, endpoint, mine);
      if (mine === this.#turn) this.#showResult(entry);
    } catch (error) {
      if (mine === this.#turn && !error.stopped) await this.#showError(error, entry);
    } finally {
      if (mine === this.#turn) this.#setRunning(false);
    }
    if (mine === this.#turn && entry.state !== "signed-out") this.#on.settled(entry);
  }

  async #complete(entry, endpoint, mine) {
    const { config, caller, uploads } = this.#getState();
    const times = new JobTimes(entry.requestId ? entry.since : null);
    const limit = Math.floor(config.max_body_bytes * BODY_SHARE);
    const input = uploads ? entry.input : await inlineFiles(entry.input, limit);
    const onEvent = (event) => mine === this.#turn && this.#handle(event, entry, times);
    const { id, streams } = endpoint;
    this.#job = new FalJob({ caller, endpoint: id, input, streams, requestId: entry.requestId, onEvent });
    const { data, requestId } = await this.#job.run();
    Object.assign(entry, { result: data, requestId, took: times.durations(), state: "completed" });
  }

  async cancel() {
    byId("cancel").disabled = true;
    announce("Cancelling");
    try {
      await this.#job?.cancel();
    } catch (error) {
      announce(`It could not be cancelled: ${error.message}`);
      byId("cancel").disabled = false;
    }
  }

  checkNow() {
    this.#job?.checkNow();
  }

  /** Stops showing the job. With *cancel* it is cancelled at fal too. */
  abandon({ cancel = false } = {}) {
    this.#turn += 1;
    if (this.running && cancel) this.#job?.cancel().catch(() => {});
    else this.#job?.stop();
    this.#setRunning(false);
    document.title = TITLE;
  }

  #setRunning(yes) {
    this.running = yes;
    byId("run").hidden = yes && !this.#yields;
    byId("cancel").hidden = !yes;
    byId("cancel").disabled = false;
    byId("form").setAttribute("aria-busy", String(yes));
    const lost = [document.body, byId("cancel"), null].includes(document.activeElement);
    if (yes && !this.#yields) byId("cancel").focus({ preventScroll: true });
    else if (lost) byId("run").focus({ preventScroll: true });
    if (yes) document.title = `● Running · ${TITLE}`;
  }

  #handle(event, entry, times) {
    const { progress } = this.#resultView;
    const steps = {
      uploading: () => progress.step("gateway", event.part > 1 ? `uploading, part ${event.part}` : "uploading"),
      sending: () => progress.step("gateway", "checking"),
      waiting: () => this.#waiting(event),
      queued: () => this.#queued(event, entry, times),
      running: () => this.#isRunning(times),
      logs: () => this.#resultView.logs.add(event.logs),
      lost: () => this.#lost(event),
      call: () => this.#called(event.call, entry),
    };
    steps[event.phase]?.();
  }

  #waiting({ status }) {
    this.#resultView.progress.step("gateway", status === 429 ? "asked to slow down" : "trying again");
    announce("The gateway sent Retry-After; trying again");
  }

  #queued(event, entry, times) {
    if (event.requestId) {
      entry.requestId = event.requestId;
      this.#on.started(entry);
    }
    times.queued();
    this.#resultView.progress.passed("gateway", "passed");
    const ahead = event.position ? `${event.position} ahead` : "next";
    this.#resultView.progress.step("queue", ahead);
    if (times.announced !== ahead) announce(`In the queue, ${ahead}`);
    times.announced = ahead;
  }

  #isRunning(times) {
    if (!times.running()) return;
    announce("Running");
    this.#resultView.progress.passed("queue", times.queueText());
    this.#resultView.progress.step("run", "", { timed: true });
  }

  #lost({ during }) {
    announce(during === "submit" ? "The gateway cannot be reached; trying again" : "Connection lost; your job goes on");
    this.#resultView.trouble.show(describeLost(during), { onCheck: () => this.checkNow() });
  }

  #called(call, entry) {
    if (call.status < 400) this.#resultView.trouble.clear();
    this.#on.call(call);
  }

  #showResult(entry) {
    document.title = `✓ Done · ${TITLE}`;
    this.#resultView.show(entry);
    this.#on.ended(entry);
    announce(
      entry.took.total === null ? "The result is here" : `Done in ${(entry.took.total / 1000).toFixed(1)} seconds`,
    );
  }

  async #showError(error, entry) {
    document.title = TITLE;
    entry.state = stateAfter(error);
    if ((error.status >= 499 || error.cancelled) && entry.requestId && !error.unread) await this.#on.price(entry);
    error.price = entry.price;
    this.#resultView.fail("This request made no result.");
    const fields = fieldErrors(error);
    if (fields.length) this.#blame(fields, { byModel: Boolean(error.requestId) });
    else this.#explain(error, entry);
    if (entry.requestId && !["signed-out", "running"].includes(entry.state)) this.#on.ended(entry);
  }

  #explain(error, entry) {
    error.cheaper = error.status === 402 && cheaperAdvice(this.#getState().form);
    const description = describeError(error);
    entry.error = description.title;
    const again = description.wait || description.again ? () => this.run() : null;
    const check = () => this.resume(entry, this.#getState().endpoint);
    this.#resultView.trouble.show(description, { again, onSignIn: this.#on.signIn, onCheck: check });
    byId("trouble").focus({ preventScroll: true });
    // The explanation stands at the top of the page, and no heading is left half below the bar.
    scrollTo({ top: 0 });
  }

  /** Shows each error beside its field, and goes to the first one. */
  #blame(errors, { byModel = false } = {}) {
    const { form } = this.#getState();
    const targets = errors.map(({ loc, message }) => ({ ...form.blame(loc, message), message, loc }));
    const links = targets.map(({ target, label, message, loc }) => ({
      text: `${label ?? loc.join(".")}: ${message}`,
      go: () => target?.focus(),
    }));
    const title = errors.length === 1 ? "1 field needs fixing" : `${errors.length} fields need fixing`;
    const todo = byModel
      ? "The gateway admitted this; the model itself rejected it."
      : "Nothing was sent to the model, and nothing was taken.";
    this.#resultView.fail();
    this.#resultView.trouble.show({ title, todo }, { links });
    this.#on.fields();
    (targets.find(({ target }) => target)?.target ?? byId("trouble")).focus();
  }
}

function stateAfter(error) {
  if (error.status === 401) return "signed-out";
  if (error.unread) return "running";
  return error.cancelled || error.status === 499 ? "cancelled" : "failed";
}

/** Returns a URL of its own for the input image: the form may revoke its URL before the comparison is closed. */
function previewOf(form, values) {
  const control = form.controls.find(({ field }) => ["file", "files"].includes(field.kind) && field.media === "image");
  const value = [values[control?.field.name]].flat()[0];
  return value instanceof File ? URL.createObjectURL(value) : (control?.preview() ?? null);
}
