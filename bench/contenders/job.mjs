// What both server-proxy contenders do on top of the library: session, rate limit, input schema.
import { readFileSync } from "node:fs";
import Ajv2020 from "ajv/dist/2020.js";
import { jwtVerify } from "jose";
import { RateLimiterMemory } from "rate-limiter-flexible";

const { AUDIENCE, ENDPOINT, FAL_KEY, ISSUER, SCHEMA, SESSION_SECRET } = process.env;

// Imported once: given as bytes it is imported on every call, which doubles the price of a verification.
const key = await crypto.subtle.importKey(
  "raw",
  new TextEncoder().encode(SESSION_SECRET),
  { name: "HMAC", hash: "SHA-256" },
  false,
  ["verify"],
);
const claims = { algorithms: ["HS256"], issuer: ISSUER, audience: AUDIENCE, requiredClaims: ["exp", "sub"] };
const limiter = new RateLimiterMemory({ points: 1_000_000_000, duration: 60 });
const ajv = new Ajv2020({ allErrors: true, strict: false });
const conforms = ajv.compile(JSON.parse(readFileSync(SCHEMA, "utf8")));

/** The caller's id. Throws where the session does not hold. */
export async function identify(authorization = "") {
  const { payload } = await jwtVerify(authorization.replace(/^Bearer /, ""), key, claims);
  return payload.sub;
}

/** Throws where the caller has had enough. */
export const spend = (caller) => limiter.consume(caller);

/** What is wrong with a submit's body: null, or ajv's list. */
export const faults = (body) => (conforms(body) ? null : conforms.errors);

export const proxyConfig = {
  allowedUrlPatterns: ["queue.fal.run/**"],
  allowedEndpoints: [ENDPOINT],
  allowUnauthorizedRequests: false,
  isAuthenticated: async () => true, // by the time it asks, `identify` has been passed
  resolveFalAuth: async () => `Key ${FAL_KEY}`,
};
