const gateway = process.env.GATEWAY ?? "http://127.0.0.1:8080"; // read by `next build`, too

export default {
  rewrites: async () => [{ source: "/api/fal/:path*", destination: `${gateway}/api/fal/:path*` }],
  // Longer than the gateway's own 120 s for a run. By default Next.js gives up after 30 s without an answer, and the
  // client of a lost run or submit sends it again.
  experimental: { proxyTimeout: 125_000 },
};
