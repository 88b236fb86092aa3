// One job, run or followed by fal's client: reports its progress, survives a lost connection, and can be cancelled.

const CANCELLED = "cancelled by the user";
const POLL_INTERVAL = 250; // milliseconds
const FIRST_PAUSE = 1_000; // milliseconds before a lost connection is tried again; doubled each time
const LONGEST_PAUSE = 15_000;
const MAX_FAILED_READS = 4; // answers of 502 and 503 in a row, after which the user decides
const UNAVAILABLE = [429, 502, 503, 504];

export class FalJob {
  #caller;
  #endpoint;
  #input;
  #mode;
  #onEvent;
  #fal;
  #key = crypto.randomUUID(); // Idempotency-Key: a submit whose answer was lost is sent again, and runs once
  #active = true;
  #stopped = false;
  #parts = 0;
  #last = null; // the last call
  #failures = 0;
  #wake = () => {};
  requestId;

  /**
   * Prepares a job. *onEvent* receives `{phase, ...}` at each change: "sending", "uploading", "waiting" (the gateway answered
   * Retry-After), "queued" (with `position`), "running", "logs", "lost" (no connection), "call" (with `call`).
   * With *requestId* a job that runs already is followed.
   */
  constructor({ caller, endpoint, input, streams, requestId = null, onEvent }) {
    this.#caller = caller;
    this.#endpoint = endpoint;
    this.#input = input;
    this.#mode = streams ? "streaming" : "polling";
    this.requestId = requestId;
    this.#onEvent = (event) => this.#stopped || onEvent(event);
  }

  #connect() {
    return this.#caller.client({
      before: (call) => this.#before(call),
      after: (call, response) => this.#after(call, response),
      headers: (call) => (call.kind === "submit" ? { "idempotency-key": this.#key } : {}),
    });
  }

  /**
   * Returns fal's result and the job's id. Raises the client's error: `cancelled` marks a cancellation by the user,
   * `announcing` a refusal of an upload by the gateway, `uploading` an error of the upload host, `unread` a result that could not be read though the job goes on.
   */
  async run() {
    try {
      this.#fal = await this.#connect();
      if (!this.requestId) await this.#submit();
      return await this.#follow();
    } catch (error) {
      const uploading = ["upload", "upload-end"].includes(this.#last?.kind);
      const announcing = this.#last?.kind === "upload-start";
      const facts = {
        announcing,
        cancelled: !this.#active,
        retryAfter: this.#last?.retryAfter,
        window: this.#last?.window,
        requestId: this.requestId,
      };
      throw Object.assign(error, { ...facts, uploading, stopped: this.#stopped });
    }
  }

  /** Tries at once, where the connection was lost. */
  checkNow() {
    this.#wake();
  }

  /** Ends the following of the job, which goes on at fal. */
  stop() {
    this.#stopped = true;
    this.#wake();
  }

  async cancel() {
    this.#active = false;
    this.#wake();
    if (!this.requestId || !this.#fal) return;
    try {
      await this.#fal.queue.cancel(this.#endpoint, { requestId: this.requestId });
    } catch (error) {
      this.#active = true;
      // Too late: the job is done, so its result is shown.
      if (error.body?.status !== "ALREADY_COMPLETED") throw error;
    }
  }

  #before(call) {
    // A submit cannot be taken back once sent: fal may have it. It is stopped before, or the job is cancelled after.
    if ((!this.#active || this.#stopped) && ["upload-start", "upload", "submit"].includes(call.kind))
      throw new DOMException(CANCELLED, "AbortError");
    this.#last = call;
    if (call.kind === "upload-start") this.#onEvent({ phase: "uploading", part: 0 });
    if (call.kind === "upload") this.#onEvent({ phase: "uploading", part: ++this.#parts });
    if (call.kind === "submit") this.#onEvent({ phase: "sending" });
  }

  #after(call, response) {
    this.#last = call;
    if (response.ok) this.#failures = 0;
    if (!call.kind.startsWith("upload") || call.kind === "upload-start") this.#onEvent({ phase: "call", call });
    if (call.kind === "submit" && [429, 502, 503].includes(call.status))
      this.#onEvent({ phase: "waiting", status: call.status, retryAfter: call.retryAfter });
  }

  async #submit() {
    const input = await this.#fal.storage.transformInput(this.#input);
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        const { request_id: requestId } = await this.#fal.queue.submit(this.#endpoint, { input });
        this.requestId = requestId;
        this.#onEvent({ phase: "queued", position: null, requestId });
        if (!this.#active) this.cancel();
        return;
      } catch (error) {
        if (!isNetworkError(error) || !this.#active) throw error;
        await this.#pause(pause, "submit");
      }
    }
  }

  async #follow() {
    for (let pause = FIRST_PAUSE; ; pause = Math.min(2 * pause, LONGEST_PAUSE)) {
      try {
        return await this.#read();
      } catch (error) {
        const again = this.#mode === "streaming" && brokeOff(error);
        // A stream may end before its job: the gateway limits its age, and the session may end. The job goes on.
        this.#mode = "polling";
        if (again && !isNetworkError(error) && this.#active) continue;
        if (!this.#mayRepeat(error)) throw error;
        await this.#pause(error.status === 429 ? 1000 * (this.#last.retryAfter ?? 1) : pause, "status");
      }
    }
  }

  async #read() {
    const options = { requestId: this.requestId, logs: true, pollInterval: POLL_INTERVAL, mode: this.#mode };
    const onQueueUpdate = (update) => this.#report(update);
    await this.#fal.queue.subscribeToStatus(this.#endpoint, { ...options, onQueueUpdate });
    return this.#fal.queue.result(this.#endpoint, { requestId: this.requestId });
  }

  #mayRepeat(error) {
    if (!this.#active || this.#stopped) return false;
    if (isNetworkError(error)) return true;
    if (!UNAVAILABLE.includes(error.status)) return false;
    this.#failures += 1;
    if (this.#failures >= MAX_FAILED_READS) error.unread = true;
    return !error.unread;
  }

  #report(update) {
    if (this.#stopped) throw new DOMException("no longer followed", "AbortError");
    if (update.status === "IN_QUEUE") this.#onEvent({ phase: "queued", position: update.queue_position });
    if (update.status === "IN_PROGRESS") this.#onEvent({ phase: "running" });
    if (update.logs?.length) this.#onEvent({ phase: "logs", logs: update.logs });
  }

  /** Waits *milliseconds*, or until the browser is online again, `checkNow`, `cancel` or `stop`. */
  async #pause(milliseconds, during) {
    this.#onEvent({ phase: "lost", during });
    await new Promise((resolve) => {
      const timer = setTimeout(resolve, milliseconds);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
      addEventListener("online", this.#wake, { once: true });
    });
    removeEventListener("online", this.#wake);
    this.#wake = () => {};
    if (!this.#active || this.#stopped) throw new DOMException(CANCELLED, "AbortError");
  }
}

const isNetworkError = (error) => Boolean(error.network) || error instanceof TypeError;

const brokeOff = (error) =>
  /still in progress/i.test(error.body?.detail ?? "") || error.status === 500 || isNetworkError(error);
