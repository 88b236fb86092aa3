// The AI SDK sends fal's own addresses; this `fetch` takes them to the gateway, in fal's proxy protocol.
import { createFal } from "@ai-sdk/fal";

const FAL = /^https:\/\/(queue\.)?fal\.run\//;

/** A provider whose calls to fal go through the gateway at `proxyUrl`, with the session token of `getToken`. */
export function createGatewayFal({ proxyUrl, getToken }) {
  return createFal({
    apiKey: "unused", // the SDK wants one; the gateway has the key, and no request carries this
    fetch: async (input, init) => {
      const url = String(input);
      if (!FAL.test(url)) return fetch(url, init); // a picture at fal's file host: public, and never with the token
      const headers = new Headers(init?.headers);
      headers.set("authorization", `Bearer ${await getToken()}`);
      headers.set("x-fal-target-url", url);
      return fetch(proxyUrl, { ...init, headers });
    },
  });
}
