import { createFalClient } from "@fal-ai/client";
import { getToken } from "./session.js";

export const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";

// A middleware, not `credentials`, because a provider's getToken() is asynchronous. It runs for each request, so a
// renewed token is used at once.
export const fal = createFalClient({
  proxyUrl: { url: "/api/fal/proxy", when: "always" },
  requestMiddleware: async (request) => ({
    ...request,
    headers: { ...request.headers, authorization: `Bearer ${await getToken()}` },
  }),
});

/** Returns the caller's budget: { limit, left, renews_at }. */
export async function fetchBudget() {
  const response = await fetch("/api/fal/usage", { headers: { authorization: `Bearer ${await getToken()}` } });
  if (!response.ok) return null;
  return (await response.json()).budgets[0];
}
