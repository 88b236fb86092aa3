import { useState } from "react";
import { signIn } from "./session.js";

export function SignIn({ notice, onSignIn }) {
  const [problem, setProblem] = useState(notice);

  async function submit(event) {
    event.preventDefault();
    const name = new FormData(event.target).get("name");
    try {
      await signIn(name);
      onSignIn(name);
    } catch {
      setProblem("The sign-in failed. Please try again.");
    }
  }

  return (
    <main className="card narrow">
      <h1>Repaint</h1>
      {problem && <p role="alert">{problem}</p>}
      <form onSubmit={submit}>
        <label>
          Name
          <input name="name" required autoFocus defaultValue="alice" />
        </label>
        <button>Sign in</button>
      </form>
    </main>
  );
}
