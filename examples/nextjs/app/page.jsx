import { cookies } from "next/headers";
import { SignIn } from "../components/SignIn.jsx";
import { Studio } from "../components/Studio.jsx";
import { COOKIE, read } from "../lib/session.js";

export default async function Page({ searchParams }) {
  const name = await read((await cookies()).get(COOKIE)?.value);
  const ended = "ended" in (await searchParams);
  return name && !ended ? <Studio name={name} /> : <SignIn ended={ended} />;
}
