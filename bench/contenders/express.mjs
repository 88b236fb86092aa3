import { createHandler } from "@fal-ai/server-proxy/express";
import express from "express";
import { faults, identify, proxyConfig, spend } from "./job.mjs";

const app = express();

async function guard(request, response, next) {
  let caller;
  try {
    caller = await identify(request.headers.authorization);
  } catch {
    return response.status(401).json({ detail: "Unauthorized" });
  }
  try {
    await spend(caller);
  } catch {
    return response.status(429).json({ detail: "Too many requests" });
  }
  if (request.method === "POST") {
    const detail = faults(request.body);
    if (detail) return response.status(422).json({ detail });
  }
  next();
}

app.all("/api/fal/proxy", express.json(), guard, createHandler(proxyConfig));
app.listen(Number(process.env.PORT), "127.0.0.1");
