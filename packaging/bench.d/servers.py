#!/usr/bin/env python3
"""Servers shaped like those of the official SDKs, on many addresses of one namespace; and ordinary web servers among them.

    servers.py NETWORK PORTS COUNT DECOYS SEED > TRUTH

TRUTH is a line per server, `ADDRESS:PORT SHAPE`, then `ready`. Answers are the SDKs' own, byte for byte where it matters: what each
refuses, in which words, and what of it says MCP. Everybody else in NETWORK is answered by the kernel: a reset, or nothing.
"""
import asyncio, ipaddress, json, random, sys, uuid

NETWORK, PORTS, COUNT, DECOYS, SEED = ipaddress.ip_network(sys.argv[1]), [int(p) for p in sys.argv[2].split(",")], *map(int, sys.argv[3:6])
SHAPES = ["python-2", "python-1", "typescript-1", "typescript-2", "bearer"]
INFO = {"name": "bench", "version": "1.0.0"}
sessions = {"opened": 0, "ended": 0}


def reply(status, body=None, headers=(), kind="application/json"):
    body = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
    reason = {200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed", 406: "Not Acceptable"}[status]
    head = [f"HTTP/1.1 {status} {reason}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", "Connection: close", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def error(code, message, id=None, data=None):
    return {"jsonrpc": "2.0", "id": id, "error": {"code": code, "message": message, **({"data": data} if data else {})}}


def initialized(id):
    return {"jsonrpc": "2.0", "id": id, "result": {"protocolVersion": "2025-11-25", "capabilities": {"tools": {"listChanged": True}}, "serverInfo": INFO}}


def modern(server, method, rpc, id, headers):
    if method != "POST":
        return reply(405, error(-32000, "Method not allowed"), ["Allow: POST"])
    if rpc.get("method") == "server/discover" and headers.get("mcp-protocol-version") == "2026-07-28":
        return reply(200, {"jsonrpc": "2.0", "id": id, "result": {"supportedVersions": ["2026-07-28"], "capabilities": {"tools": {"listChanged": True}}, "serverInfo": INFO, "resultType": "complete"}}, [f"server: {server}"])
    if headers.get("mcp-protocol-version") not in (None, "2026-07-28"):
        return reply(400, error(-32022, f"Unsupported protocol version: {headers['mcp-protocol-version']}", id, {"supported": ["2026-07-28"]}))
    return reply(404, error(-32601, "Method not found", id))


def session(method, rpc, id, headers, refusal, end):
    if method == "DELETE" and "mcp-session-id" in headers:
        sessions["ended"] += 1
        return reply(200)
    if rpc.get("method") == "initialize":
        sessions["opened"] += 1
        text = f"event: message{end}data: {json.dumps(initialized(id))}{end}{end}"
        return reply(200, text.encode(), [f"mcp-session-id: {uuid.uuid4().hex}"], "text/event-stream")
    return reply(400, refusal)


def answer(shape, method, path, headers, body):
    if shape == "web":
        return reply(404, b"<html><head><title>404 Not Found</title></head></html>", ["Server: nginx/1.24.0"], "text/html")
    if path.split("?")[0] != "/mcp":
        return reply(404, b"Not Found", ["server: uvicorn"], "text/plain")
    try:
        rpc = json.loads(body) if body else {}
    except ValueError:
        return reply(400, error(-32700, "Parse error"))
    id = rpc.get("id")
    if shape == "python-2":
        return modern("uvicorn", method, rpc, id, headers)
    if shape == "typescript-2":
        return modern("express", method, rpc, id, headers)
    if shape == "python-1":
        return session(method, rpc, id, headers, error(-32600, "Bad Request: Missing session ID", "server-error"), "\r\n")
    if shape == "typescript-1":
        return session(method, rpc, id, headers, error(-32000, "Bad Request: Server not initialized"), "\n")
    if path.startswith("/.well-known"):
        return reply(404, b"Not Found", ["server: uvicorn"], "text/plain")
    challenge = 'Bearer error="invalid_token", error_description="Authentication required", resource_metadata="http://%s/.well-known/oauth-protected-resource/mcp"' % headers.get("host", "x")
    return reply(401, {"error": "invalid_token", "error_description": "Authentication required"}, [f"WWW-Authenticate: {challenge}", "server: uvicorn"])


def metadata(shape, path, headers):
    if shape == "bearer" and path == "/.well-known/oauth-protected-resource/mcp":
        return reply(200, {"resource": f"http://{headers.get('host', 'x')}/mcp", "authorization_servers": ["https://login.bench.invalid/"], "scopes_supported": ["mcp:tools"]})


async def serve(shape, reader, writer):
    try:
        head = (await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 20)).decode("latin-1").split("\r\n")
        method, path, _ = head[0].split(" ")
        headers = {k.lower(): v.strip() for k, _, v in (line.partition(":") for line in head[1:] if line)}
        body = await asyncio.wait_for(reader.readexactly(int(headers.get("content-length", 0))), 20)
        writer.write(metadata(shape, path, headers) or answer(shape, method, path, headers, body))
        await writer.drain()
    except (ValueError, OSError, asyncio.TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        pass
    finally:
        writer.close()


async def main():
    chance = random.Random(SEED)
    places = chance.sample(range((NETWORK.num_addresses - 2) * len(PORTS)), COUNT + DECOYS)
    for n, place in enumerate(places):
        address, port = str(NETWORK[1 + place // len(PORTS)]), PORTS[place % len(PORTS)]
        shape = SHAPES[n % len(SHAPES)] if n < COUNT else "web"
        await asyncio.start_server(lambda r, w, s=shape: serve(s, r, w), address, port, backlog=128)
        print(f"{address}:{port} {shape}")
    print("ready", flush=True)
    loop = asyncio.get_running_loop()
    await loop.run_in_executor(None, sys.stdin.readline)
    print(json.dumps(sessions), file=sys.stderr, flush=True)


asyncio.run(main())
