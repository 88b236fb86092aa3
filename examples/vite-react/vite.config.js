import react from "@vitejs/plugin-react";
import { defineConfig } from "vite";

// In production the front proxy does the same: see deploy/nginx/app.conf.
export default defineConfig({
  plugins: [react()],
  server: {
    proxy: {
      "/api/fal": process.env.GATEWAY ?? "http://127.0.0.1:8080",
      "/auth": process.env.LOGIN ?? "http://127.0.0.1:3001",
    },
  },
});
