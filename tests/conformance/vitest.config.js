import { defineConfig } from "vitest/config";

const http2 = process.env.DURASTREAM_CONFORMANCE_HTTP === "2";

export default defineConfig({
  test: {
    include: ["server.test.js"],
    setupFiles: http2 ? ["h2.js"] : [],
    watch: false,
    retry: 0,
  },
});
