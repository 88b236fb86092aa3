// Jobs of this tab in its session storage: what was set for each, to resume and to show after a reload.
import { replaceFiles } from "../form/file_values.js";

const MOST_STORED = 24;

/** Jobs of *subject*, newest first: `{requestId, endpoint, input, since, open, end}`. Files are not stored. */
export class StoredJobs {
  #name;

  constructor(subject) {
    this.#name = `jobs of ${subject}`;
  }

  list() {
    try {
      return JSON.parse(sessionStorage.getItem(this.#name)) ?? [];
    } catch {
      return []; // storage can be switched off
    }
  }

  find(requestId) {
    return this.list().find((job) => job.requestId === requestId);
  }

  /** Adds a job that runs. */
  add({ requestId, endpoint, input, since }) {
    const others = this.list().filter((job) => job.requestId !== requestId);
    this.#write([{ requestId, endpoint, input: replaceFiles(input, undefined), since, open: true }, ...others]);
  }

  /** Records that a job has ended, in the state *end*. */
  end(requestId, end) {
    this.#write(this.list().map((job) => (job.requestId === requestId ? { ...job, open: false, end } : job)));
  }

  clear() {
    this.#write([]);
  }

  #write(jobs) {
    try {
      sessionStorage.setItem(this.#name, JSON.stringify(jobs.slice(0, MOST_STORED)));
    } catch {
      // Without storage a reload forgets what was set; the gateway's list of jobs is still there.
    }
  }
}
