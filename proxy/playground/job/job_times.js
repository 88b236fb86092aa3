// Times of one job: at the gateway, in the queue, running. In milliseconds.
import { seconds } from "../dom.js";

export class JobTimes {
  #begun = performance.now();
  #queued = null;
  #running = null;
  #resumedFrom;
  announced = null; // the last place in the queue that was announced

  /** Starts the clock. *resumedFrom*: when a resumed job was started (milliseconds since the epoch), else null. */
  constructor(resumedFrom) {
    this.#resumedFrom = resumedFrom;
  }

  queued() {
    this.#queued ??= performance.now();
  }

  /** Records that the job runs. Returns whether that is new. */
  running() {
    if (this.#running !== null) return false;
    this.#running = performance.now();
    return true;
  }

  queueText() {
    return this.#resumedFrom === null ? seconds(this.#running - (this.#queued ?? this.#begun)) : "";
  }

  durations() {
    const now = performance.now();
    // The page did not see the steps of a job that it took up again.
    if (this.#resumedFrom !== null) return { total: null, gateway: null, queue: null, run: null };
    const queued = this.#queued ?? this.#begun;
    return {
      total: now - this.#begun,
      gateway: queued - this.#begun,
      queue: (this.#running ?? now) - queued,
      run: this.#running === null ? null : now - this.#running, // a short run may end between two polls
    };
  }
}
