// The official suite against the server that test_conformance.py has started. The variable is not
// called BASE_URL because vite sets that one itself.
import { runConformanceTests } from "@durable-streams/server-conformance-tests";

const baseUrl = process.env.DURASTREAM_CONFORMANCE_URL;
const longPollTimeoutMs = Number(process.env.DURASTREAM_CONFORMANCE_LONG_POLL_MS);
if (!baseUrl || !(longPollTimeoutMs > 0)) {
  throw new Error("run this through pytest: tests/conformance/test_conformance.py starts the server");
}

runConformanceTests({ baseUrl, longPollTimeoutMs });
