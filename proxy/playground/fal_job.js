// One job, run by fal's client: reports its progress and can cancel it.

const CANCELLED = "cancelled by the user";

/**
 * *onEvent* receives `{phase, ...}` at each change: "sending", "uploading", "waiting" (the gateway answered Retry-After),
 * "queued" (with `position`), "running", "logs". `result` resolves with fal's result and the job's id.
 *
 * Rejects with the client's error; `cancelled` marks a cancellation by the user, and `uploading` an error of the
 * upload host.
 */
export function createFalJob({ caller, endpoint, input, streams, onEvent }) {
  let requestId = null;
  let active = true;
  let parts = 0;
  const seen = { retryAfter: null, during: null };

  const traffic = {
    before(call) {
      // A submit cannot be taken back once sent: fal may have it. It is stopped before, or the job is cancelled after.
      if (!active && ["upload-start", "upload", "submit"].includes(call.kind))
        throw new DOMException(CANCELLED, "AbortError");
      seen.during = call.kind;
      if (call.kind === "upload-start") onEvent({ phase: "uploading", part: 0 });
      if (call.kind === "upload") onEvent({ phase: "uploading", part: ++parts });
      if (call.kind === "submit") onEvent({ phase: "sending" });
    },
    after(call, response) {
      const retryAfter = Number(response.headers.get("retry-after")) || null;
      seen.retryAfter = response.ok ? null : retryAfter;
      if (call.kind !== "submit") return;
      const quota = tightestWindow(response.headers);
      if (quota) onEvent({ phase: "quota", quota });
      if ([429, 502, 503].includes(response.status)) onEvent({ phase: "waiting", status: response.status, retryAfter });
    },
  };
  const fal = caller.client(traffic);

  function onQueueUpdate(update) {
    if (update.status === "IN_QUEUE") onEvent({ phase: "queued", position: update.queue_position });
    if (update.status === "IN_PROGRESS") onEvent({ phase: "running" });
    if (update.logs?.length) onEvent({ phase: "logs", logs: update.logs });
  }

  async function work() {
    const options = {
      input,
      logs: true,
      onQueueUpdate,
      pollInterval: 250,
      mode: streams ? "streaming" : "polling",
    };
    const onEnqueue = (id) => {
      requestId = id;
      onEvent({ phase: "queued", position: null, requestId });
      if (!active) cancel();
    };
    try {
      return await fal.subscribe(endpoint, { ...options, onEnqueue });
    } catch (error) {
      // A stream may end before its job: the gateway limits its age, and the session may end. The job goes on.
      if (!requestId || !active || !brokeOff(error)) throw error;
      await fal.queue.subscribeToStatus(endpoint, { ...options, mode: "polling", requestId });
      return fal.queue.result(endpoint, { requestId });
    }
  }

  async function cancel() {
    active = false;
    if (!requestId) return;
    try {
      await fal.queue.cancel(endpoint, { requestId });
    } catch (error) {
      if (error.body?.status !== "ALREADY_COMPLETED") throw error;
      active = true; // too late: it is done, so it is shown
    }
  }

  return {
    cancel,
    result: work().catch((error) => {
      const uploading = ["upload", "upload-end"].includes(seen.during);
      throw Object.assign(error, { cancelled: !active, retryAfter: seen.retryAfter, requestId, uploading });
    }),
  };
}

const brokeOff = (error) =>
  /still in progress/i.test(error.body?.detail ?? "") || error.status === 500 || error instanceof TypeError;

/** Returns the window of the gateway with the least room: `{name, left, of, seconds}` (draft-ietf-httpapi-ratelimit-headers). */
export function tightestWindow(headers) {
  const policies = parsed(headers.get("ratelimit-policy"));
  const windows = parsed(headers.get("ratelimit")).flatMap(({ name, r }) => {
    const policy = policies.find((each) => each.name === name);
    return policy ? [{ name, left: r, of: policy.q, seconds: policy.w }] : [];
  });
  return windows.sort((a, b) => a.left / a.of - b.left / b.of)[0] ?? null;
}

function parsed(text) {
  return (text ?? "").split(",").flatMap((item) => {
    const [name, ...pairs] = item.trim().split(";");
    if (!name) return [];
    return [
      {
        name: name.replaceAll('"', ""),
        ...Object.fromEntries(pairs.map((pair) => [pair.split("=")[0], Number(pair.split("=")[1])])),
      },
    ];
  });
}
