// The stock JavaScript client against a running gateway, as a page or a server would use it.
// GATEWAY: where it is reached, prefix included. ALICE, BOB: session tokens. PICTURE: a data URI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, ValidationError, createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, BOB, PICTURE, CONTROL } = process.env;
const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";
const HANDLE = /^[0-9a-f-]{36}(~[a-z0-9-]+)?\.[\w-]{24}$/; // with the alias of its fal key
const input = { image_url: PICTURE, prompt: "a light house", image_size: { width: 96, height: 64 }, seed: 7 };

const clientOf = (token) =>
  createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: token });
const alice = clientOf(ALICE);
const bob = clientOf(BOB);

async function accepted() {
  const response = await fetch(`${CONTROL}/counts`);
  return (await response.json()).submits.total;
}

async function completed(client, requestId) {
  for (;;) {
    const status = await client.queue.status(ENDPOINT, { requestId, logs: true });
    if (status.status === "COMPLETED") return status;
    await new Promise((resolve) => setTimeout(resolve, 25));
  }
}

test("subscribe gives a picture, with logs and updates on the way", async () => {
  const seen = new Set();
  const messages = [];
  const result = await alice.subscribe(ENDPOINT, {
    input,
    logs: true,
    pollInterval: 25,
    onQueueUpdate: (update) => {
      seen.add(update.status);
      for (const log of update.logs ?? []) messages.push(log.message);
    },
  });
  assert.equal(result.data.images.length, 1);
  assert.deepEqual([result.data.images[0].width, result.data.images[0].height], [96, 64]);
  assert.equal(result.data.seed, 7);
  assert.ok(seen.has("COMPLETED"), [...seen].join());
  assert.ok(messages.length > 0);
  assert.match(result.requestId, HANDLE);
  const picture = await fetch(result.data.images[0].url);
  assert.equal(picture.headers.get("content-type"), "image/jpeg");
  assert.ok((await picture.arrayBuffer()).byteLength > 100);
});

test("submit, status and result work one by one, and the ids are handles", async () => {
  const queued = await alice.queue.submit(ENDPOINT, { input });
  assert.match(queued.request_id, HANDLE);
  for (const url of [queued.status_url, queued.response_url, queued.cancel_url])
    assert.ok(url.startsWith(`${GATEWAY}/queue/fal-ai/hyper-sdxl/requests/${queued.request_id}`), url);
  const status = await completed(alice, queued.request_id);
  assert.equal(status.request_id, queued.request_id);
  assert.ok(status.logs.length > 0);
  const result = await alice.queue.result(ENDPOINT, { requestId: queued.request_id });
  assert.equal(result.requestId, queued.request_id);
  assert.equal(result.data.prompt, input.prompt);
});

test("the same seed gives the same bytes", async () => {
  const pictures = [];
  for (let i = 0; i < 2; i++) {
    const { data } = await alice.subscribe(ENDPOINT, { input, pollInterval: 25 });
    pictures.push(Buffer.from(await (await fetch(data.images[0].url)).arrayBuffer()));
  }
  assert.ok(pictures[0].equals(pictures[1]));
});

test("a queued job can be cancelled", async () => {
  const { request_id: requestId } = await alice.queue.submit(ENDPOINT, { input });
  await alice.queue.cancel(ENDPOINT, { requestId });
  const status = await completed(alice, requestId);
  assert.equal(status.status, "COMPLETED");
});

test("a bad payload is a ValidationError with every field's errors, and costs fal nothing", async () => {
  const before = await accepted();
  const bad = { ...input, prompt: undefined, num_inference_steps: 3, format: "gif" };
  await assert.rejects(alice.subscribe(ENDPOINT, { input: bad }), (error) => {
    assert.ok(error instanceof ValidationError);
    assert.equal(error.status, 422);
    for (const field of ["prompt", "num_inference_steps", "format"])
      assert.equal(error.getFieldErrors(field).length, 1, field);
    return true;
  });
  assert.equal(await accepted(), before);
});

test("without a session there is a 401, and no replay of it", async () => {
  const before = await accepted();
  const nobody = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: () => undefined });
  for (const client of [nobody, clientOf("not.a.token")]) {
    const started = Date.now();
    await assert.rejects(client.queue.submit(ENDPOINT, { input }), (error) => {
      assert.ok(error instanceof ApiError);
      assert.equal(error.status, 401);
      assert.equal(error.message, "Sign in again: this call has no valid session token");
      return true;
    });
    assert.ok(Date.now() - started < 900, "the client waits a second before a replay");
  }
  assert.equal(await accepted(), before);
});

test("an endpoint that is not listed is a 403", async () => {
  await assert.rejects(alice.queue.submit("fal-ai/flux/dev", { input }), (error) => error.status === 403);
});

test("another user finds no job: the same answer as for one that never was", async () => {
  const { request_id: requestId } = await alice.queue.submit(ENDPOINT, { input });
  const madeUp = `00000000-0000-4000-8000-000000000000.${"A".repeat(24)}`;
  for (const call of ["status", "result", "cancel"]) {
    const answers = [];
    for (const id of [requestId, madeUp, requestId.split(".")[0]])
      await assert.rejects(bob.queue[call](ENDPOINT, { requestId: id }), (error) => {
        answers.push([error.status, JSON.stringify(error.body), error.message]);
        return true;
      });
    assert.deepEqual(answers[0], [404, answers[0][1], "Job not found"]);
    assert.deepEqual(answers[1], answers[0]);
    assert.deepEqual(answers[2], answers[0]);
  }
});
