// The stock JavaScript client behind a front proxy that gives up before the gateway answers.
// GATEWAY: where the front is reached, prefix included. ALICE: a session token. PICTURE: a data URI.
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, PICTURE } = process.env;
const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";
const fal = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: ALICE });
const input = (prompt) => ({ image_url: PICTURE, prompt, image_size: { width: 96, height: 64 } });

// A user who repeats after an error, as the client itself does for a while.
async function untilItWorks(call) {
  for (let i = 0; ; i++)
    try {
      return await call();
    } catch (error) {
      if (i === 5) throw error;
    }
}

describe("each click is answered", { concurrency: true }, () => {
  test("run", async () => {
    const { data } = await untilItWorks(() => fal.run(ENDPOINT, { input: input("run") }));
    assert.equal(data.images.length, 1);
  });

  test("subscribe", async () => {
    const { data } = await untilItWorks(() => fal.subscribe(ENDPOINT, { input: input("subscribe") }));
    assert.equal(data.images.length, 1);
  });

  test("submit", async () => {
    const queued = await untilItWorks(() => fal.queue.submit(ENDPOINT, { input: input("submit") }));
    assert.match(queued.request_id, /^[0-9a-f-]{36}(~[a-z0-9-]+)?\.[\w-]{24}$/);
  });
});
