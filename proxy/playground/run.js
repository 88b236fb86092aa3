// One job from the button to the picture. fal's client does the work; this says where it stands, and can stop it.

const NO_LONGER_WANTED = "no longer wanted";

/**
 * *say* gets `{phase, ...}` whenever something is new: "sending", "uploading", "waiting" (the gate asked for patience),
 * "queued" (with `position`), "running", "logs". Resolves with fal's result, the job's id in it.
 *
 * Raises what the client raises; an error has `cancelled` where this was the caller's wish, and `uploading` where it
 * is the upload host's and not the gate's.
 */
export function jobOf({ caller, endpoint, input, streams, say }) {
  let requestId = null;
  let wanted = true;
  let parts = 0;
  const seen = { retryAfter: null, during: null };

  const traffic = {
    before(call) {
      // A submit that was sent cannot be called back: fal may have it. So it is stopped before, or cancelled after.
      if (!wanted && ["upload-start", "upload", "submit"].includes(call.kind))
        throw new DOMException(NO_LONGER_WANTED, "AbortError");
      seen.during = call.kind;
      if (call.kind === "upload-start") say({ phase: "uploading", part: 0 });
      if (call.kind === "upload") say({ phase: "uploading", part: ++parts });
      if (call.kind === "submit") say({ phase: "sending" });
    },
    after(call, response) {
      const retryAfter = Number(response.headers.get("retry-after")) || null;
      seen.retryAfter = response.ok ? null : retryAfter;
      if (call.kind !== "submit") return;
      const standing = standingOf(response.headers);
      if (standing) say({ phase: "standing", standing });
      if ([429, 502, 503].includes(response.status)) say({ phase: "waiting", status: response.status, retryAfter });
    },
  };
  const fal = caller.client(traffic);

  function onQueueUpdate(update) {
    if (update.status === "IN_QUEUE") say({ phase: "queued", position: update.queue_position });
    if (update.status === "IN_PROGRESS") say({ phase: "running" });
    if (update.logs?.length) say({ phase: "logs", logs: update.logs });
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
      say({ phase: "queued", position: null, requestId });
      if (!wanted) cancel();
    };
    try {
      return await fal.subscribe(endpoint, { ...options, onEnqueue });
    } catch (error) {
      // A stream may end before the job does: its age and the session's are limited. The job is still there.
      if (!requestId || !wanted || !brokeOff(error)) throw error;
      await fal.queue.subscribeToStatus(endpoint, { ...options, mode: "polling", requestId });
      return fal.queue.result(endpoint, { requestId });
    }
  }

  async function cancel() {
    wanted = false;
    if (!requestId) return;
    try {
      await fal.queue.cancel(endpoint, { requestId });
    } catch (error) {
      if (error.body?.status !== "ALREADY_COMPLETED") throw error;
      wanted = true; // too late: it is done, so it is shown
    }
  }

  return {
    cancel,
    result: work().catch((error) => {
      const uploading = ["upload", "upload-end"].includes(seen.during);
      throw Object.assign(error, { cancelled: !wanted, retryAfter: seen.retryAfter, requestId, uploading });
    }),
  };
}

const brokeOff = (error) =>
  /still in progress/i.test(error.body?.detail ?? "") || error.status === 500 || error instanceof TypeError;

/** The tightest of the gate's windows: `{name, left, of, seconds}` (draft-ietf-httpapi-ratelimit-headers). */
export function standingOf(headers) {
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
