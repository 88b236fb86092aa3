// Uploads by the stock JavaScript client: the announcement through the gateway, the bytes to the sandbox's file host.
// REST: the sandbox's REST origin, where files live. LARGE: set for the upload in parts. The gateway takes pictures and zip
// files, and keeps them an hour.
import assert from "node:assert/strict";
import { test } from "node:test";
import { ApiError, ValidationError, createFalClient } from "@fal-ai/client";

const { GATEWAY, ALICE, PICTURE, REST, LARGE } = process.env;
const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";
const bytes = Buffer.from(PICTURE.split(",")[1], "base64");
const picture = (name = "cat.png") => new File([bytes], name, { type: "image/png" });

// Every address that the client calls, to see what goes where.
const seen = [];
const recording = (input, init) => {
  seen.push({ method: init?.method ?? "GET", url: String(input), headers: new Headers(init?.headers) });
  return fetch(input, init);
};
const alice = createFalClient({
  proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" },
  credentials: ALICE,
  fetch: recording,
});

test("a File is uploaded and can be read where the client says", async () => {
  seen.length = 0;
  const url = await alice.storage.upload(picture("Holiday photo (1).PNG"));
  assert.match(url, new RegExp(`^${REST}/files/[0-9a-f]{20}_Holiday_photo_1_\\.png$`));
  const file = await fetch(url);
  assert.equal(file.headers.get("content-type"), "image/png");
  assert.deepEqual(Buffer.from(await file.arrayBuffer()), bytes);
  const [announced, put] = seen;
  assert.deepEqual([announced.method, announced.url], ["POST", `${GATEWAY}/proxy`]);
  assert.equal(put.method, "PUT");
  assert.ok(put.url.startsWith(`${REST}/upload/`), put.url);
  assert.equal(put.headers.get("authorization"), null);
});

test("a File in the input is uploaded by itself and becomes the picture", async () => {
  const result = await alice.subscribe(ENDPOINT, {
    input: { image_url: picture(), prompt: "a light house", image_size: { width: 96, height: 64 }, seed: 7 },
    pollInterval: 25,
  });
  assert.deepEqual([result.data.images[0].width, result.data.images[0].height], [96, 64]);
});

test("a lifetime is asked for, and an access list is not", async () => {
  const url = await alice.storage.upload(picture(), { lifecycle: { expiresIn: "immediate" } });
  assert.ok(url.startsWith(REST));
  await assert.rejects(
    alice.storage.upload(picture(), { lifecycle: { expiresIn: "1h", initialAcl: { default: "forbid" } } }),
    (error) => error instanceof ApiError && error.status === 400 && /x-fal-object-lifecycle/.test(error.message),
  );
});

// The bytes do not pass the gateway, so one server is enough.
if (LARGE)
  test("more than 90 MB go up in parts", { timeout: 80_000 }, async () => {
    seen.length = 0;
    const size = 91 * 1024 * 1024 + 17;
    const big = new File([Buffer.alloc(size, "fal")], "weights.zip", { type: "application/zip" });
    const url = await alice.storage.upload(big);
    const parts = seen.filter((call) => call.method === "PUT");
    assert.equal(parts.length, 10);
    assert.ok(parts.every((part, i) => new URL(part.url).pathname.endsWith(`/${i + 1}`)));
    assert.equal(seen.filter((call) => call.url.startsWith(GATEWAY)).length, 1);
    const file = await fetch(url);
    let length = 0;
    for await (const chunk of file.body) length += chunk.length;
    assert.equal(length, size);
  });

test("what may not be uploaded is a ValidationError that names the field", async () => {
  const cases = [
    [new File(["<script>"], "page.html", { type: "text/html" }), "content_type"],
    [new File(["x"], "no-type"), "content_type"],
    [picture("../../etc/passwd"), "file_name"],
    [picture("cat\u202egnp.exe"), "file_name"],
  ];
  for (const [file, field] of cases)
    await assert.rejects(alice.storage.upload(file), (error) => {
      assert.ok(error instanceof ValidationError, String(error));
      assert.deepEqual([error.status, error.getFieldErrors(field).length], [422, 1], field);
      return true;
    });
});

test("a picture that fal should fetch from a private place is refused, and its field named", async () => {
  for (const image_url of ["http://169.254.169.254/latest/meta-data", "https://10.0.0.1/a.png", "file:///etc/passwd"])
    await assert.rejects(alice.queue.submit(ENDPOINT, { input: { image_url, prompt: "x" } }), (error) => {
      assert.ok(error instanceof ValidationError, String(error));
      assert.equal(error.getFieldErrors("image_url").length, 1);
      return true;
    });
});

test("without a session nothing is announced", async () => {
  const nobody = createFalClient({ proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" }, credentials: "not.a.token" });
  await assert.rejects(nobody.storage.upload(picture()), (error) => error.status === 401);
});
