// The stock JavaScript client against a gateway whose model fails every job.
// GATEWAY: where it is reached, prefix included. ALICE: a session token. PICTURE: a data URI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, PICTURE } = process.env;
const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";
const input = { image_url: PICTURE, prompt: "a light house" };
const fal = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: ALICE });

const isTheModels = (error) => {
  assert.ok(error instanceof ApiError);
  assert.equal(error.status, 500);
  assert.equal(error.body.error_type, "runner_server_error");
  assert.equal(typeof error.body.detail, "string");
  return true;
};

for (const mode of ["polling", "streaming"])
  test(`subscribe in ${mode} mode gives the model's failure`, async () => {
    const seen = [];
    const onQueueUpdate = (update) => seen.push(update.status);
    await assert.rejects(fal.subscribe(ENDPOINT, { input, mode, pollInterval: 25, onQueueUpdate }), isTheModels);
    assert.equal(seen.at(-1), "COMPLETED");
  });

test("the result can be read any number of times", async () => {
  const { request_id: requestId } = await fal.queue.submit(ENDPOINT, { input });
  while ((await fal.queue.status(ENDPOINT, { requestId })).status !== "COMPLETED");
  for (let i = 0; i < 5; i++) await assert.rejects(fal.queue.result(ENDPOINT, { requestId }), isTheModels);
});
