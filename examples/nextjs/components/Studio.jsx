"use client";

import { useRouter } from "next/navigation";
import { useEffect, useState } from "react";
import { fetchBudget } from "../lib/fal.js";
import { useJob } from "../lib/useJob.js";

const STATES = { IN_QUEUE: "In the queue", IN_PROGRESS: "Running", COMPLETED: "Finished" };

export function Studio({ name }) {
  const router = useRouter();
  const job = useJob(() => router.replace("/?ended"));
  const [budget, setBudget] = useState(null);
  const running = job.state === "running";

  useEffect(() => {
    fetchBudget().then(setBudget);
  }, [job.state]);

  async function signOut() {
    await fetch("/auth/session", { method: "DELETE" });
    router.refresh();
  }

  function submit(event) {
    event.preventDefault();
    const form = new FormData(event.target);
    job.run({
      image_url: form.get("image"),
      prompt: form.get("prompt"),
      num_images: Number(form.get("num_images")),
    });
  }

  return (
    <main className="card">
      <header>
        <h1>Repaint</h1>
        <span>
          {name} · {budget ? `${budget.left} of ${budget.limit} pictures left` : "…"}
        </span>
        <button type="button" className="quiet" onClick={signOut}>
          Sign out
        </button>
      </header>
      <form onSubmit={submit}>
        <Field label="Image" name="image" type="file" accept="image/*" required error={job.fields.image_url} />
        <Field label="Prompt" name="prompt" defaultValue="a lighthouse by the sea" required error={job.fields.prompt} />
        <Field label="Images" name="num_images" type="number" defaultValue="1" error={job.fields.num_images} />
        <div className="buttons">
          <button disabled={running}>Run</button>
          <button type="button" className="quiet" disabled={!running || job.updates.length === 0} onClick={job.cancel}>
            Cancel
          </button>
        </div>
      </form>
      {job.problem && <p role="alert">{job.problem}</p>}
      {job.state === "cancelled" && <p role="status">Cancelled. It cost nothing.</p>}
      <ol aria-label="Progress">
        {job.updates.map((update, index) => (
          <li key={index}>
            {STATES[update.status]} <small>{update.log}</small>
          </li>
        ))}
      </ol>
      <div className="images">
        {job.images.map((image) => (
          <img key={image.url} src={image.url} alt="Result" />
        ))}
      </div>
    </main>
  );
}

function Field({ label, name, error, ...input }) {
  const id = `${name}-error`;
  return (
    <div className="field">
      <label htmlFor={name}>{label}</label>
      <input id={name} name={name} aria-invalid={Boolean(error)} aria-describedby={error && id} {...input} />
      {error && <em id={id}>{error}</em>}
    </div>
  );
}
