// The reference server of the protocol, file-backed: `node serve.mjs PORT DIRECTORY`.
import { mkdirSync } from "node:fs"
import { DurableStreamTestServer } from "@durable-streams/server"

const [port, dataDir] = process.argv.slice(2)
mkdirSync(dataDir, { recursive: true })
const server = new DurableStreamTestServer({ port: Number(port), host: "127.0.0.1", dataDir })
process.on("SIGTERM", () => process.exit(0))
await server.start()
