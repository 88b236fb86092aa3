"use client";

import { useRouter } from "next/navigation";
import { useState } from "react";

export function SignIn({ ended }) {
  const router = useRouter();
  const [problem, setProblem] = useState(ended ? "Your session has ended. Please sign in again." : null);

  async function submit(event) {
    event.preventDefault();
    const body = JSON.stringify({ name: new FormData(event.target).get("name") });
    const response = await fetch("/auth/session", { method: "POST", body });
    if (!response.ok) return setProblem("The sign-in failed. Please try again.");
    router.replace("/");
    router.refresh();
  }

  return (
    <main className="card narrow">
      <h1>Repaint</h1>
      {problem && <p role="alert">{problem}</p>}
      <form onSubmit={submit}>
        <label htmlFor="name">Name</label>
        <input id="name" name="name" required autoFocus defaultValue="alice" />
        <button>Sign in</button>
      </form>
    </main>
  );
}
