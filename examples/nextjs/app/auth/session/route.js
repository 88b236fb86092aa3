import { cookies } from "next/headers";
import { COOKIE, mint, options } from "../../../lib/session.js";

/** Signs in. */
export async function POST(request) {
  const { name } = await request.json(); // an app checks a password or a passkey here
  (await cookies()).set(COOKIE, await mint(name), options);
  return new Response(null, { status: 204 });
}

/** Signs out. */
export async function DELETE() {
  (await cookies()).set(COOKIE, "", { ...options, maxAge: 0 });
  return new Response(null, { status: 204 });
}
