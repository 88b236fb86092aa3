// The fragment of the address: a job, or an endpoint with its input. A fragment is not sent to any server.

const LONGEST = 8_000; // characters of an address that all browsers and chats keep whole

/** Returns `{job, endpoint, input}` of the current address; null where it has none. */
export function readAddress() {
  const fragment = new URLSearchParams(location.hash.slice(1));
  return { job: fragment.get("job"), endpoint: fragment.get("endpoint"), input: parseInput(fragment.get("input")) };
}

function parseInput(text) {
  try {
    const value = text === null ? null : JSON.parse(text);
    return value && typeof value === "object" && !Array.isArray(value) ? value : null;
  } catch {
    return null;
  }
}

/** Puts a job into the address, so that a reload or another tab finds it. */
export function showJobInAddress({ requestId, endpoint }) {
  history.replaceState(null, "", `#${new URLSearchParams({ job: requestId, endpoint })}`);
}

export function showEndpointInAddress(endpoint) {
  history.replaceState(null, "", `#${new URLSearchParams({ endpoint })}`);
}

export function clearAddress() {
  history.replaceState(null, "", location.pathname);
}

/** Returns a link to *endpoint* with *input*, or null where it would be too long. */
export function formLink(endpoint, input) {
  const fragment = new URLSearchParams({ endpoint, input: JSON.stringify(input) });
  const link = `${location.origin}${location.pathname}#${fragment}`;
  return link.length > LONGEST ? null : link;
}
