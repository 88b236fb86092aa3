import { serve } from "@hono/node-server";
import { createRouteHandler } from "@fal-ai/server-proxy/hono";
import { Hono } from "hono";
import { faults, identify, proxyConfig, spend } from "./job.mjs";

const app = new Hono();

app.use("/api/fal/proxy", async (context, next) => {
  let caller;
  try {
    caller = await identify(context.req.header("authorization"));
  } catch {
    return context.json({ detail: "Unauthorized" }, 401);
  }
  try {
    await spend(caller);
  } catch {
    return context.json({ detail: "Too many requests" }, 429);
  }
  if (context.req.method === "POST") {
    const detail = faults(await context.req.json());
    if (detail) return context.json({ detail }, 422);
  }
  await next();
});
app.all("/api/fal/proxy", createRouteHandler(proxyConfig));

serve({ fetch: app.fetch, hostname: "127.0.0.1", port: Number(process.env.PORT) });
