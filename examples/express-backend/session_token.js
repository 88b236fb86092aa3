import { SignJWT } from "jose";

const SECRET = new TextEncoder().encode(process.env.SESSION_SECRET); // as text, not base64-decoded

/** A session token of the gateway for one user: what the gateway limits, budgets and shows by. */
export function sessionToken(userId, lifetime = "10m") {
  return new SignJWT()
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer("https://app.example.com")
    .setAudience("fal-proxy")
    .setSubject(userId)
    .setIssuedAt()
    .setExpirationTime(lifetime)
    .sign(SECRET);
}
