// One MCP client of the TypeScript SDK: makes and finds a project and a task, waits for a line on stdin
// (the server is killed and started again meanwhile), and finds the task again with the same session.
//
//     node client.mjs URL
//
// Prints one line of JSON after each half.

import { createInterface } from "node:readline/promises";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";

const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();
const client = new Client({ name: "typescript", version: "2.7.1" });
const transport = new StreamableHTTPClientTransport(new URL(process.argv[2]));

async function answer(name, args) {
  const result = await client.callTool({ name, arguments: args });
  if (result.isError || !result.structuredContent?.success) throw new Error(JSON.stringify(result));
  return result.structuredContent;
}

function print(value) {
  console.log(JSON.stringify({ session: transport.sessionId, ...value }));
}

await client.connect(transport);
const { tools } = await client.listTools();
const project = await answer("manage_project", { action: "create", title: "From TypeScript" });
const task = await answer("manage_task", { action: "create", project_id: project.project_id, title: "First" });
const found = {
  project: (await answer("find_projects", { project_id: project.project_id })).project.title,
  task: (await answer("find_tasks", { task_id: task.task_id })).task.title,
};
print({ tools: tools.map((tool) => tool.name), found });

await lines.next();
const again = await answer("find_tasks", { filter_by: "project", filter_value: project.project_id });
print({ tasks: again.tasks.map((item) => item.title) });
await transport.terminateSession();
await client.close();
process.exit(0);
