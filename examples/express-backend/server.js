import { randomUUID } from "node:crypto";
import express from "express";
import { sessionToken } from "./session_token.js";

const GATEWAY = process.env.FAL_GATEWAY; // http://127.0.0.1:8080/api/fal, in the private network
const MODEL = "fal-ai/flux/dev";

const app = express();
app.use(express.json());

// Stands for the login of your app: a map of its own session keys to users.
const USERS = new Map(Object.entries(JSON.parse(process.env.APP_SESSIONS ?? "{}")));
app.use((request, response, next) => {
  request.user = USERS.get(request.get("authorization")?.replace("Bearer ", ""));
  if (request.user) next();
  else response.status(401).json({ message: "sign in first" });
});

// Way 1: the phone calls the gateway itself, with a short-lived token of its own.
app.post("/fal-token", async (request, response) => {
  response.set("cache-control", "no-store").json({ token: await sessionToken(request.user) });
});

// Way 2: the backend calls the gateway on behalf of the user, with a token made for this one request.
async function callGateway(user, path, options = {}) {
  const authorization = `Bearer ${await sessionToken(user, "1m")}`;
  return fetch(`${GATEWAY}/${path}`, {
    ...options,
    headers: { ...options.headers, authorization },
    signal: AbortSignal.timeout(60_000),
  });
}

/** Passes status and body on: a refusal of the gateway has a message for people, and a type for the app. */
async function pass(answer, response, pick) {
  const body = await answer.json();
  response.status(answer.status).json(answer.ok ? pick(body) : { message: body.message, type: body.error_type });
}

app.post("/pictures", async (request, response) => {
  const answer = await callGateway(request.user, `queue/${MODEL}`, {
    method: "POST",
    // The phone sends one key for each picture it wants, so that a repeat of the call is not paid twice.
    headers: { "content-type": "application/json", "idempotency-key": request.get("idempotency-key") ?? randomUUID() },
    body: JSON.stringify({ prompt: request.body.prompt }),
  });
  await pass(answer, response, (job) => ({ id: job.request_id }));
});

app.get("/pictures/:id", async (request, response) => {
  const job = `queue/fal-ai/flux/requests/${encodeURIComponent(request.params.id)}`;
  const status = await callGateway(request.user, `${job}/status`);
  if (status.status !== 200) return pass(status, response, ({ status: state }) => ({ state }));
  await pass(await callGateway(request.user, job), response, ({ images }) => ({ url: images[0].url }));
});

const server = app.listen(Number(process.env.PORT ?? 3000), "127.0.0.1", () => {
  console.log(`listening on ${server.address().port}`);
});
