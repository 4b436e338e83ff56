// The reference server, in memory, until standard input ends.
import { createRequire } from "node:module"
import { pathToFileURL } from "node:url"

const require = createRequire(new URL("../conformance/package.json", import.meta.url))
const { DurableStreamTestServer } = await import(pathToFileURL(require.resolve("@durable-streams/server")).href)
const server = new DurableStreamTestServer({ port: 0, host: "127.0.0.1", longPollTimeout: 1000 })
console.log(await server.start())
process.stdin.resume()
process.stdin.on("end", () => process.exit(0))
