// One MCP client of the TypeScript SDK 2.x, which knows both eras.
//
//     node client.mjs URL MODE          MODE: legacy, auto or a revision
//
// Connects, lists, calls `echo`, has a call report progress, and prints what it got as one line of JSON.

import { Client, StreamableHTTPClientTransport } from "@modelcontextprotocol/client";

const [url, chosen] = process.argv.slice(2);
const mode = ["legacy", "auto"].includes(chosen) ? chosen : { pin: chosen };
const client = new Client({ name: "typescript2", version: "2.4.0" }, { versionNegotiation: { mode } });
const transport = new StreamableHTTPClientTransport(new URL(url));
await client.connect(transport);
const { tools } = await client.listTools();
const said = await client.callTool({ name: "echo", arguments: { text: "hällo" } });
const heard = [];
await client.callTool(
  { name: "test_tool_with_progress", arguments: {} },
  { onprogress: (progress) => heard.push(progress.progress) },
);
const found = {
  revision: client.getNegotiatedProtocolVersion(),
  session: transport.sessionId !== undefined,
  tools: tools.map((tool) => tool.name),
  said: said.content[0].text,
  heard,
};
if (transport.sessionId !== undefined) await transport.terminateSession();
await client.close();
console.log(JSON.stringify(found));
process.exit(0);
