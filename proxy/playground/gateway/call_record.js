// Record of one call to the gateway: request, status, time, and the trace that the gateway sends where it explains.

const TRACE = "x-gateway-trace";

/** Starts the record of a call. *operation* is one of fal's operations, or null. */
export const callRecord = (method, path, operation = null) => ({
  method,
  path,
  kind: operation,
  at: Date.now(),
  started: performance.now(),
});

/** Completes *call* with what *response* says. Its body stays readable. */
export async function finishCall(call, response) {
  call.ms = performance.now() - call.started;
  call.status = response.status;
  call.requestId = response.headers.get("x-fal-request-id");
  call.retryAfter = Number(response.headers.get("retry-after")) || null;
  call.replayed = response.headers.get("idempotent-replayed") === "true";
  call.window = tightestWindow(response.headers);
  call.trace = parseTrace(response.headers.get(TRACE));
  if (!response.ok) call.body = await errorBody(response.clone());
  return call;
}

async function errorBody(response) {
  try {
    return await response.json();
  } catch {
    return null;
  }
}

function parseTrace(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null;
  }
}

/** Returns the window of the gateway with the least room: `{name, left, of, seconds}` (draft-ietf-httpapi-ratelimit-headers). */
export function tightestWindow(headers) {
  const policies = parseItems(headers.get("ratelimit-policy"));
  const windows = parseItems(headers.get("ratelimit")).flatMap(({ name, r }) => {
    const policy = policies.find((each) => each.name === name);
    return policy ? [{ name, left: r, of: policy.q, seconds: policy.w }] : [];
  });
  return windows.sort((a, b) => a.left / a.of - b.left / b.of)[0] ?? null;
}

function parseItems(text) {
  return (text ?? "").split(",").flatMap((item) => {
    const [name, ...pairs] = item.trim().split(";");
    if (!name) return [];
    const values = pairs.map((pair) => [pair.split("=")[0], Number(pair.split("=")[1])]);
    return [{ name: name.replaceAll('"', ""), ...Object.fromEntries(values) }];
  });
}
