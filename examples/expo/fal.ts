import { createFalClient } from "@fal-ai/client";
import { fetch } from "expo/fetch";

export const GATEWAY = "https://app.example.com/api/fal"; // the whole address: an app has no origin

/** fal's client through the gateway. `getToken` gives the session token of the signed-in user. */
export function createGatewayClient(getToken: () => Promise<string>) {
  return createFalClient({
    // Without `when` the client finds no document, and sends the token to fal itself.
    proxyUrl: { url: `${GATEWAY}/proxy`, when: "always" },
    requestMiddleware: async (request) => ({
      ...request,
      headers: { ...request.headers, authorization: `Bearer ${await getToken()}` },
    }),
    // React Native's own fetch does not stream. This one does, and is the global one from Expo 56 on.
    fetch,
  });
}
