import { createFalClient } from "@fal-ai/client";

export const ENDPOINT = "fal-ai/hyper-sdxl/image-to-image";

// The browser sends the session cookie by itself: no script of the page ever has the token.
export const fal = createFalClient({ proxyUrl: { url: "/api/fal/proxy", when: "always" } });

/** Returns the caller's budget: { limit, left, renews_at }. */
export async function fetchBudget() {
  const response = await fetch("/api/fal/usage");
  if (!response.ok) return null;
  return (await response.json()).budgets[0];
}
