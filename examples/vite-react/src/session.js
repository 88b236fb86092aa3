// The token stays in memory: no script of another page and no disk has it. A reload signs out.
let token = null;

export async function signIn(name) {
  const response = await fetch("/auth/login", { method: "POST", body: JSON.stringify({ name }) });
  if (!response.ok) throw new Error(`sign-in failed: ${response.status}`);
  token = (await response.json()).token;
}

export function signOut() {
  token = null;
}

export async function getToken() {
  return token;
}
