import { writeFile } from "node:fs/promises";
import { generateImage } from "ai";
import { createGatewayFal } from "./gateway.js";

const fal = createGatewayFal({
  proxyUrl: process.env.FAL_PROXY_URL, // https://app.example.com/api/fal/proxy
  getToken: async () => process.env.TOKEN, // in an app: the session token of the signed-in user
});
const { image } = await generateImage({
  model: fal.image("fal-ai/flux/dev"),
  prompt: process.argv[2] ?? "a lighthouse",
  providerOptions: { fal: { syncMode: true } }, // the picture in the answer, without a second request
  maxRetries: 0, // the SDK repeats any failed call; the gateway's answers name the ones that are safe
});
await writeFile("picture.jpg", image.uint8Array);
console.log(`picture.jpg: ${image.uint8Array.length} bytes`);
