import { useRef, useState } from "react";
import { ValidationError } from "@fal-ai/client";
import { ENDPOINT, fal } from "./fal.js";

const IDLE = { state: "idle", updates: [], images: [], problem: null, fields: {} };

/** One job at a time: its updates as they arrive, its images, or what to show for its error. */
export function useJob(onSessionEnd) {
  const [job, setJob] = useState(IDLE);
  const requestId = useRef(null);
  const cancelled = useRef(false);
  const change = (part) => setJob((job) => ({ ...job, ...part }));

  async function run(input) {
    setJob({ ...IDLE, state: "running" });
    requestId.current = null;
    cancelled.current = false;
    try {
      const { data } = await fal.subscribe(ENDPOINT, {
        input, // a File in it is uploaded first
        mode: "streaming",
        logs: true,
        headers: { "idempotency-key": crypto.randomUUID() }, // a replay never starts a second job
        onEnqueue: (id) => (requestId.current = id),
        onQueueUpdate: ({ status, logs }) => {
          const update = { status, log: logs?.at(-1)?.message }; // `logs` grows from update to update
          setJob((job) => ({ ...job, updates: [...job.updates, update] }));
        },
      });
      change({ state: "done", images: data.images });
    } catch (error) {
      if (cancelled.current) change({ state: "cancelled" });
      else if (error.status === 401) onSessionEnd();
      else change({ state: "failed", ...explain(error) });
    }
  }

  async function cancel() {
    cancelled.current = true;
    await fal.queue.cancel(ENDPOINT, { requestId: requestId.current });
  }

  return { ...job, run, cancel };
}

/** What to show the user: docs/errors.md has a text for each error_type. */
function explain(error) {
  if (error instanceof ValidationError) {
    const fields = error.fieldErrors.map(({ loc, msg }) => [loc.at(-1), msg]);
    return { fields: Object.fromEntries(fields), problem: "Please correct the marked field." };
  }
  if (error.status === 402) {
    const renewal = new Date(error.body.budget.renews_at).toLocaleTimeString([], { timeStyle: "short" });
    return { problem: `You have used up your pictures. There are new ones at ${renewal}.` };
  }
  if (error.status === 429) return { problem: "Too many requests. Please wait a moment." };
  return { problem: "This did not work. Please try again later." };
}
