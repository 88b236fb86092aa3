// The stock JavaScript client with its own replays, driven by the money tests.
// stdin: {"url", "session", "concurrency", "input", "submits": [{"endpoint", "key"}, …]}.
// stdout: a line for each submit as it ends: {"endpoint", "key", "requestId", "status", "message", "attempts"}.
import { createFalClient } from "@fal-ai/client";

const { url, session, concurrency, input, submits } = JSON.parse(await new Response(process.stdin).text());

async function submit({ endpoint, key }) {
  let attempts = 0;
  const client = createFalClient({
    proxyUrl: { url, when: "always" },
    credentials: session,
    fetch: (...request) => {
      attempts += 1;
      return fetch(...request);
    },
  });
  const headers = { "idempotency-key": key };
  try {
    const { request_id: requestId } = await client.queue.submit(endpoint, { input, headers });
    return { endpoint, key, requestId, status: 200, attempts };
  } catch (error) {
    return { endpoint, key, status: error.status ?? 0, message: String(error), attempts };
  }
}

async function work() {
  for (let next = submits.shift(); next; next = submits.shift())
    process.stdout.write(`${JSON.stringify(await submit(next))}\n`);
}

await Promise.all(Array.from({ length: concurrency }, work));
