// Clicks of many users by the stock JavaScript client, without keys, until standard input ends.
// First line of stdin: {"url", "sessions", "endpoint", "input", "rate", "callers", "pause", "name"}. With `rate` clicks
// start at that rate a second; without it `callers` click again `pause` seconds after each answer.
// stdout: a line for each click as it ends: {"click", "requestId", "status", "attempts", "byHand", "begun", "ended"}.
import { once } from "node:events";
import { createInterface } from "node:readline";
import { createFalClient } from "@fal-ai/client";

const lines = createInterface({ input: process.stdin });
const [first] = await once(lines, "line");
const { url, sessions, endpoint, input, rate, callers, pause, name, hands = 5 } = JSON.parse(first);
let over = false;
const ended = once(lines, "close").then(() => {
  over = true;
});
const sleep = (seconds) => new Promise((resolve) => setTimeout(resolve, 1000 * seconds));
let clicks = 0;

async function click(session) {
  const prompt = `${name}-${clicks++}`;
  const begun = Date.now() / 1000;
  let attempts = 0;
  const client = createFalClient({
    proxyUrl: { url, when: "always" },
    credentials: session,
    fetch: (...request) => {
      attempts += 1;
      return fetch(...request);
    },
  });
  let outcome;
  for (let byHand = 0; byHand <= hands; byHand++) {
    try {
      const { request_id: requestId } = await client.queue.submit(endpoint, { input: { ...input, prompt } });
      outcome = { requestId, status: 200, byHand };
    } catch (error) {
      outcome = { status: error.status ?? 0, message: String(error).slice(0, 200), byHand };
    }
    // A user repeats what failed by hand; after an unknown outcome the app tells not to.
    if (![0, 502, 503].includes(outcome.status)) break;
  }
  process.stdout.write(`${JSON.stringify({ click: prompt, attempts, begun, ended: Date.now() / 1000, ...outcome })}\n`);
}

async function caller(number) {
  while (!over) {
    await click(sessions[number % sessions.length]);
    await sleep(pause);
  }
}

const under = new Set();
if (rate) {
  const start = Date.now();
  while (!over) {
    const task = click(sessions[clicks % sessions.length]).then(() => under.delete(task));
    under.add(task);
    await Promise.race([ended, sleep(Math.max(0, clicks / rate - (Date.now() - start) / 1000))]);
  }
  await Promise.all(under);
} else await Promise.all(Array.from({ length: callers }, (_, number) => caller(number)));
process.exit(0);
