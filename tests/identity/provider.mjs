// A certified OpenID provider for the tests. It listens on a free loopback port and prints one JSON line.
// POST /rotate adds keys and signs with them; POST /retire removes the old ones; GET /fetches counts requests for keys.
import { randomUUID } from "node:crypto";
import http from "node:http";
import { exportJWK, generateKeyPair } from "jose";
import { Provider } from "oidc-provider";

const RESOURCES = { "urn:test:es256": "ES256", "urn:test:rs256": "RS256" };
let keys = [];
let fetches = 0;
let callback;
let issuer;

async function newKey(alg) {
  const { privateKey } = await generateKeyPair(alg, { extractable: true });
  return { ...(await exportJWK(privateKey)), alg, use: "sig", kid: randomUUID() };
}

async function rotate() {
  keys = [await newKey("ES256"), await newKey("RS256"), ...keys];
  build();
}

function build() {
  const provider = new Provider(issuer, {
    jwks: { keys },
    clients: [
      { client_id: "app", client_secret: "secret", grant_types: ["client_credentials"], redirect_uris: [], response_types: [] },
    ],
    extraTokenClaims: (ctx) => ({ plan: ctx.oidc.body.plan ?? "free" }),
    features: {
      clientCredentials: { enabled: true },
      devInteractions: { enabled: false },
      resourceIndicators: {
        enabled: true,
        useGrantedResource: () => true,
        getResourceServerInfo: (_, resource) => ({
          scope: "images",
          audience: "fal-proxy",
          accessTokenFormat: "jwt",
          accessTokenTTL: 600,
          jwt: { sign: { alg: RESOURCES[resource] } },
        }),
      },
    },
  });
  callback = provider.callback();
}

const control = {
  "POST /rotate": async () => (await rotate(), {}),
  "POST /retire": async () => ((keys = keys.slice(0, 2)), build(), {}),
  "GET /fetches": async () => ({ fetches }),
};

const server = http.createServer(async (request, response) => {
  const handler = control[`${request.method} ${request.url}`];
  if (handler) {
    response.end(JSON.stringify(await handler()));
    return;
  }
  if (request.url === "/jwks") fetches += 1;
  callback(request, response);
});

server.listen(0, "127.0.0.1", async () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  await rotate();
  process.stdout.write(`${JSON.stringify({ issuer })}\n`);
});
