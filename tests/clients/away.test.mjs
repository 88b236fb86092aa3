// The stock JavaScript client against a gateway that cannot reach fal at first.
// GATEWAY: where it is reached, prefix included. ALICE: a session token. PICTURE: a data URI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, PICTURE } = process.env;
const fal = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: ALICE });

test("what was certainly not sent is replayed by the client itself", async () => {
  const input = { image_url: PICTURE, prompt: "a light house" };
  const { data } = await fal.subscribe("fal-ai/hyper-sdxl/image-to-image", { input, pollInterval: 25 });
  assert.equal(data.images.length, 1);
});
