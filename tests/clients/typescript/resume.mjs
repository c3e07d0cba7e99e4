// One MCP client of the TypeScript SDK whose connections end before its calls do.
//
//     node resume.mjs URL
//
// First a call whose POST the server closes; then, after a line on stdin, one during which the server is killed
// and started again. Prints one line of JSON for each: what came, and every GET that was made for it.

import { createInterface } from "node:readline/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
let gets = [];

async function watched(url, init) {
  const response = await fetch(url, init);
  const from = new Headers(init.headers).get("last-event-id");
  if (init.method === "GET" && from !== null) gets.push({ from, status: response.status });
  return response;
}

const client = new Client({ name: "typescript", version: "2.7.1" });
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]), {
  fetch: watched,
  reconnectionOptions: {
    initialReconnectionDelay: 100,
    maxReconnectionDelay: 1000,
    reconnectionDelayGrowFactor: 1.5,
    maxRetries: 50,
  },
});

async function call(name, args) {
  const progress = [];
  const tokens = [];
  gets = [];
  const options = {
    onprogress: (said) => {
      progress.push(said.message);
      if (name === "slow") console.log(JSON.stringify({ begun: true }));
    },
    onresumptiontoken: (token) => tokens.push(token),
  };
  let outcome;
  try {
    const result = await client.callTool({ name, arguments: args }, undefined, options);
    outcome = { said: JSON.parse(result.content[0].text) };
  } catch (error) {
    outcome = { error: { code: error.code, message: error.message } };
  }
  console.log(JSON.stringify({ ...outcome, progress, tokens, gets, session: transport.sessionId }));
}

await client.connect(transport);
await call("leave", { seconds: 3 });
await lines.next();
await call("slow", { seconds: 60 });
await client.close();
process.exit(0);
