import { SignJWT, jwtVerify } from "jose";

// `__Host-` keeps other hosts of the domain from setting it. The gateway reads the same cookie (fal-proxy.toml).
export const COOKIE = "__Host-session";
const HOURS = 12;
const claims = { issuer: "https://login.example.com", audience: "fal-proxy" };
const secret = () => new TextEncoder().encode(process.env.SESSION_SECRET);

export const options = { httpOnly: true, secure: true, sameSite: "lax", path: "/", maxAge: HOURS * 3600 };

export function mint(name) {
  return new SignJWT({})
    .setProtectedHeader({ alg: "HS256" })
    .setIssuer(claims.issuer)
    .setAudience(claims.audience)
    .setSubject(name)
    .setIssuedAt()
    .setExpirationTime(`${HOURS}h`)
    .sign(secret());
}

/** Returns the user's name, or null without a valid session. */
export async function read(token) {
  if (!token) return null;
  try {
    return (await jwtVerify(token, secret(), claims)).payload.sub;
  } catch {
    return null;
  }
}
