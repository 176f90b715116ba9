// A client on the TypeScript SDKs: client.mjs 1|2 URL [KEY]. SDK 1.x speaks with sessions, 2.x is pinned to 2026-07-28.
// Calls the tools of server_*.{py,mjs}, or those of server-everything, and prints one JSON line of what it was told.
const [, , sdk, url, key] = process.argv;
const requestInit = key ? { headers: { Authorization: `Bearer ${key}` } } : {};
const me = { name: "gnomon-test-client", version: "1.0.0" };

async function connect() {
  if (sdk === "1") {
    const { Client } = await import("@modelcontextprotocol/sdk/client/index.js");
    const { StreamableHTTPClientTransport } = await import("@modelcontextprotocol/sdk/client/streamableHttp.js");
    const { SSEClientTransport } = await import("@modelcontextprotocol/sdk/client/sse.js");
    const client = new Client(me);
    const Transport = url.endsWith("/sse") ? SSEClientTransport : StreamableHTTPClientTransport;
    await client.connect(new Transport(new URL(url), { requestInit }));
    return client;
  }
  const { Client, StreamableHTTPClientTransport } = await import("@modelcontextprotocol/client");
  const client = new Client(me, { versionNegotiation: { mode: { pin: "2026-07-28" } } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url), { requestInit }));
  return client;
}

const client = await connect();
const call = (name, args, options) =>
  sdk === "1" ? client.callTool({ name, arguments: args }, undefined, options) : client.callTool({ name, arguments: args }, options);
const tools = (await client.listTools()).tools.map((t) => t.name).sort();
const everything = tools.includes("echo");
const [find, findArgs] = everything ? ["echo", { message: "ada" }] : ["find", { q: "ada" }];
const [count, countArgs] = everything ? ["trigger-long-running-operation", { duration: 0.3, steps: 3 }] : ["count", { steps: 3 }];
const [erase, eraseArgs] = everything ? ["get-env", {}] : ["erase", { q: "ada" }];

let steps = 0;
const said = { server: client.getServerVersion()?.name, tools };
said.find = (await call(find, findArgs)).content[0].text;
said.count = (await call(count, countArgs, { onprogress: () => steps++ })).content[0].text;
said.steps = steps;
try {
  const erased = await call(erase, eraseArgs);
  said.erase = (erased.isError ? "error: " : "") + erased.content[0].text.slice(0, 40);
} catch (why) {
  said.erase = `error: ${why.message}`;
}
console.log(JSON.stringify(said));
await client.close();
