"""A client on the Python SDK 1.x: client_1.py URL [KEY]. One JSON line of what it was told."""
import asyncio
import json
import sys

from mcp import ClientSession
from mcp.client.sse import sse_client
from mcp.client.streamable_http import streamablehttp_client


async def main(url: str, key: str | None) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else None
    open_transport = sse_client if url.endswith("/sse") else streamablehttp_client
    steps = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        steps.append(done)

    async with open_transport(url, headers=headers) as streams, ClientSession(streams[0], streams[1]) as session:
        hello = await session.initialize()
        tools = (await session.list_tools()).tools
        found = await session.call_tool("find", {"q": "ada"})
        counted = await session.call_tool("count", {"steps": 3}, progress_callback=progress)
        said = {
            "revision": hello.protocolVersion,
            "server": hello.serverInfo.name,
            "tools": sorted(t.name for t in tools),
            "find": found.content[0].text,
            "count": counted.content[0].text,
            "steps": len(steps),
        }
        try:
            erased = await session.call_tool("erase", {"q": "ada"})
            said["erase"] = ("error: " if erased.isError else "") + erased.content[0].text
        except Exception as why:  # what the SDK raises for a JSON-RPC error
            said["erase"] = f"error: {why}"
        print(json.dumps(said))


asyncio.run(main(sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else None))
