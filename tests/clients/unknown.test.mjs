// The stock JavaScript client against a gateway whose submits reach fal, while fal's answers do not come back.
// GATEWAY: where it is reached, prefix included. ALICE: a session token. PICTURE: a data URI.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, PICTURE } = process.env;
const fal = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: ALICE });

test("an unknown outcome is told once, and not replayed", async () => {
  const input = { image_url: PICTURE, prompt: "a light house" };
  await assert.rejects(fal.subscribe("fal-ai/hyper-sdxl/image-to-image", { input }), (error) => {
    assert.ok(error instanceof ApiError);
    assert.equal(error.status, 504);
    assert.equal(error.body.error_type, "outcome_unknown");
    assert.match(error.message, /it may run/);
    return true;
  });
});
