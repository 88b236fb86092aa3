// The stock JavaScript client's streams and runs against a running gateway.
// GATEWAY: where it is reached, prefix included. ALICE, BOB: session tokens. PICTURE: a data URI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, ValidationError, createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, BOB, PICTURE, CONTROL } = process.env;
const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";
const HANDLE = /^[0-9a-f-]{36}(~[a-z0-9-]+)?\.[\w-]{24}$/;
const input = { image_url: PICTURE, prompt: "ein Häuschen am Fluß 🏡", image_size: { width: 96, height: 64 }, seed: 7 };

const clientOf = (token) =>
  createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: token });
const alice = clientOf(ALICE);
const bob = clientOf(BOB);

async function runs() {
  const response = await fetch(`${CONTROL}/counts`);
  return (await response.json()).runs.total;
}

test("subscribe in streaming mode gives a picture, with logs and updates on the way", { timeout: 60_000 }, async () => {
  let result;
  const seen = [];
  // The job takes 150 ms: on a busy machine it may end before its stream begins, which then has one event.
  while (seen.length < 2) {
    seen.length = 0;
    result = await alice.subscribe(ENDPOINT, {
      input,
      mode: "streaming",
      logs: true,
      onQueueUpdate: (update) => seen.push(structuredClone(update)),
    });
  }
  assert.deepEqual([result.data.images[0].width, result.data.images[0].height], [96, 64]);
  assert.equal(result.data.prompt, input.prompt);
  assert.match(result.requestId, HANDLE);
  assert.equal(seen.at(-1).status, "COMPLETED");
  assert.ok(seen.at(-1).logs.length > 0);
  for (const update of seen) {
    assert.equal(update.request_id, result.requestId);
    for (const url of [update.status_url, update.response_url, update.cancel_url])
      assert.ok(url.startsWith(`${GATEWAY}/queue/fal-ai/hyper-sdxl/requests/${result.requestId}`), url);
  }
});

test("a status stream can be followed by itself, also by a job that has ended", async () => {
  const { request_id: requestId } = await alice.queue.submit(ENDPOINT, { input });
  for (let i = 0; i < 2; i++) {
    const stream = await alice.queue.streamStatus(ENDPOINT, { requestId, logs: true });
    const events = [];
    for await (const event of stream) events.push(event.status);
    assert.equal(events.at(-1), "COMPLETED");
    assert.equal((await stream.done()).request_id, requestId);
    assert.equal(stream.requestId, requestId);
  }
});

test("another user gets no stream of it", async () => {
  const { request_id: requestId } = await alice.queue.submit(ENDPOINT, { input });
  const stream = await bob.queue.streamStatus(ENDPOINT, { requestId });
  await assert.rejects(stream.done(), (error) => {
    assert.ok(error instanceof ApiError);
    assert.deepEqual([error.status, error.message], [404, "Job not found"]);
    return true;
  });
});

test("a stream that is aborted ends where it is", async () => {
  const { request_id: requestId } = await alice.queue.submit(ENDPOINT, { input });
  const stream = await alice.queue.streamStatus(ENDPOINT, { requestId });
  await new Promise((resolve) => stream.on("data", resolve));
  stream.abort();
  await stream.done();
  assert.equal((await alice.queue.status(ENDPOINT, { requestId })).request_id, requestId);
});

test("run answers in one call, under an id that is no job's", async () => {
  const result = await alice.run(ENDPOINT, { input });
  assert.deepEqual([result.data.images[0].width, result.data.seed, result.data.prompt], [96, 7, input.prompt]);
  assert.match(result.requestId, /^[0-9a-f]{32}$/);
  await assert.rejects(alice.queue.result(ENDPOINT, { requestId: result.requestId }), (error) => error.status === 404);
});

test("stream gives what the model says as it goes, and the output at its end", async () => {
  const stream = await alice.stream(ENDPOINT, { input });
  const messages = [];
  for await (const event of stream) if (event.message) messages.push(event.message);
  const output = await stream.done();
  assert.ok(messages.length > 1, messages.join());
  assert.deepEqual([output.images[0].width, output.seed, output.prompt], [96, 7, input.prompt]);
  assert.match(stream.requestId, /^[0-9a-f]{32}$/);
});

test("bad input is a ValidationError of run and of stream, and no run", async () => {
  const before = await runs();
  const bad = { ...input, format: "gif" };
  const wrong = (error) => {
    assert.ok(error instanceof ValidationError);
    assert.equal(error.getFieldErrors("format").length, 1);
    return true;
  };
  await assert.rejects(alice.run(ENDPOINT, { input: bad }), wrong);
  const stream = await alice.stream(ENDPOINT, { input: bad });
  await assert.rejects(stream.done(), wrong);
  assert.equal(await runs(), before);
  assert.ok(before > 0, "the counter counts");
});
