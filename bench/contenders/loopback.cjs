// Preloaded: server-proxy only ever calls https://queue.fal.run, so its connections, and nothing else of it, are led
// to the bench's upstream. Patched once for each connection, not for each request; the certificate is verified.
const tls = require("node:tls");

const { connect } = tls;
tls.connect = (options, ...rest) =>
  connect({ ...options, host: "127.0.0.1", port: Number(process.env.UPSTREAM_PORT) }, ...rest);
