// An MCP server on the TypeScript SDK 2.x, 2026-07-28 only: server_2.mjs HOST PORT
import { createServer } from "node:http";
import { McpServer, createMcpHandler } from "@modelcontextprotocol/server";
import { toNodeHandler } from "@modelcontextprotocol/node";
import { z } from "zod";

const text = (line) => ({ content: [{ type: "text", text: line }] });

const handler = createMcpHandler(
  () => {
    const server = new McpServer({ name: "timetable", version: "2.0.0" });
    server.registerTool("find", { description: "Find a train.", inputSchema: z.object({ q: z.string() }) }, async ({ q }) => text(`found ${q}`));
    server.registerTool("erase", { description: "What no grant should allow.", inputSchema: z.object({ q: z.string() }) }, async ({ q }) => text(`erased ${q}`));
    server.registerTool("count", { description: "Count aloud.", inputSchema: z.object({ steps: z.number().default(3) }) }, async ({ steps }, ctx) => {
      const token = ctx?.mcpReq?._meta?.progressToken;
      for (let step = 1; token !== undefined && step <= steps; step++) {
        await ctx.mcpReq.notify({ method: "notifications/progress", params: { progressToken: token, progress: step, total: steps } });
      }
      return text("counted");
    });
    return server;
  },
  { legacy: "reject" },
);

createServer(toNodeHandler(handler)).listen(Number(process.argv[3]), process.argv[2]);
