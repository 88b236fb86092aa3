// Realtime tokens by the stock JavaScript client. RUN: the sandbox's run origin, which takes them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, RUN } = process.env;
const APP = "fal-ai/fast-turbo-diffusion";

// What the client connects to: the token is in the address, and nothing but fal would be there to answer.
const sockets = [];
globalThis.WebSocket = class {
  constructor(url) {
    sockets.push(new URL(url));
  }
  send() {}
  close() {}
};

// The client would renew its token in 108 s, and node would wait for that.
const later = setTimeout;
globalThis.setTimeout = (callback, ms, ...rest) => {
  const timer = later(callback, ms, ...rest);
  return ms > 60_000 ? timer.unref() : timer;
};

async function until(condition) {
  for (const end = Date.now() + 5000; !condition(); ) {
    assert.ok(Date.now() < end, "the condition never came true");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

test("realtime.connect mints through the gateway and dials fal with the token", async () => {
  const alice = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: ALICE });
  const connection = alice.realtime.connect(APP, { onResult() {}, onError() {}, throttleInterval: 0 });
  connection.send({ prompt: "a cat" });
  await until(() => sockets.length > 0);
  assert.equal(sockets[0].host, "fal.run");
  const token = sockets[0].searchParams.get("fal_jwt_token");
  assert.ok(token.length > 8);
  const run = await fetch(`${RUN}/${APP}/stream?fal_jwt_token=${token}`, { method: "POST", body: "{}" });
  assert.notEqual(run.status, 401);
  connection.close();
});

test("a token provider of one's own uses the newer mint, as the clients' guide shows", async () => {
  sockets.length = 0;
  const alice = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: ALICE });
  const connection = alice.realtime.connect(APP, {
    tokenProvider: async (path) => {
      const response = await fetch(`${GATEWAY}/tokens/realtime`, {
        method: "POST",
        headers: { authorization: `Bearer ${ALICE}`, "content-type": "application/json" },
        body: JSON.stringify({ allowed_apps: [path], duration: 120 }),
      });
      if (!response.ok) throw new Error(`no token: ${response.status}`);
      return (await response.json()).token;
    },
    tokenExpirationSeconds: 120,
    onResult() {},
    throttleInterval: 0,
  });
  connection.send({ prompt: "a cat" });
  await until(() => sockets.length > 0);
  assert.ok(sockets[0].searchParams.get("fal_jwt_token").length > 8);
  connection.close();
});

test("an app that is not listed gets no token", async () => {
  sockets.length = 0;
  const errors = [];
  const alice = createFalClient({
    proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" },
    credentials: ALICE,
    fetch: async (...call) => {
      const response = await fetch(...call);
      errors.push(response.status);
      return response;
    },
  });
  const connection = alice.realtime.connect("fal-ai/other", { onResult() {}, onError() {}, throttleInterval: 0 });
  connection.send({ prompt: "a cat" });
  await until(() => errors.length > 0);
  assert.deepEqual([errors, sockets.length], [[422], 0]);
  connection.close();
});
