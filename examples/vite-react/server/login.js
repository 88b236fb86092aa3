// The login service of the app. An identity provider (Clerk, Auth0, Supabase, ...) takes its place: docs/identity.md.
import { createServer } from "node:http";
import { SignJWT } from "jose";

const secret = new TextEncoder().encode(process.env.SESSION_SECRET);

function mint(name) {
  return new SignJWT({})
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer("https://login.example.com")
    .setAudience("fal-proxy")
    .setSubject(name)
    .setIssuedAt()
    .setExpirationTime("1h")
    .sign(secret);
}

createServer(async (request, response) => {
  if (request.method !== "POST" || request.url !== "/auth/login") {
    response.writeHead(404).end();
    return;
  }
  let body = "";
  for await (const chunk of request) body += chunk;
  const { name } = JSON.parse(body); // an app checks a password or a passkey here
  response.setHeader("content-type", "application/json");
  response.setHeader("cache-control", "no-store");
  response.end(JSON.stringify({ token: await mint(name) }));
}).listen(process.env.PORT ?? 3001, "127.0.0.1");
