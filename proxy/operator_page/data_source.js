// Source of the data: read again every few seconds while the page is in sight.

const EVERY = 3000; // milliseconds
const STALE_AFTER = 10_000;
const PATIENCE = 8000;

/** Calls *onData* with each answer, and *onAge* every second with the age of the last one and the last problem. */
export class DataSource {
  constructor(address, { onData, onAge }) {
    this.address = address;
    this.onData = onData;
    this.onAge = onAge;
    this.paused = false;
    this.problem = null;
    this.received = null;
  }

  start() {
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden) this.read();
    });
    setInterval(() => this.tick(), 1000);
    this.read();
  }

  pause(paused) {
    this.paused = paused;
    if (!paused) this.read();
    this.tick();
  }

  tick() {
    const age = this.received === null ? null : performance.now() - this.received;
    this.onAge({ age, paused: this.paused, problem: this.problem, stale: this.problem !== null || age > STALE_AFTER });
  }

  async read() {
    clearTimeout(this.timer);
    if (this.reading || document.hidden || this.paused) return;
    this.reading = true;
    try {
      const response = await fetch(this.address, { cache: "no-store", signal: AbortSignal.timeout(PATIENCE) });
      if (!response.ok) throw new Error(`the gateway answers ${response.status}`);
      const data = await response.json();
      this.received = performance.now();
      this.problem = null;
      this.onData(data);
    } catch (error) {
      this.problem = error.message.startsWith("the gateway") ? error.message : "the gateway does not answer";
    }
    this.reading = false;
    this.tick();
    this.timer = setTimeout(() => this.read(), EVERY);
  }
}
