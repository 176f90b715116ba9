"""A client on the Python SDK 2.x: client_2.py URL [KEY] [--mode MODE]. One JSON line of what it was told."""
import argparse
import asyncio
import json

import httpx2
from mcp import Client
from mcp.client.streamable_http import streamable_http_client


async def main(url: str, key: str | None, mode: str) -> None:
    headers = {"Authorization": f"Bearer {key}"} if key else {}
    steps = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        steps.append(done)

    http = httpx2.AsyncClient(headers=headers, timeout=httpx2.Timeout(30, read=300))
    async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        tools = (await client.list_tools()).tools
        found = await client.call_tool("find", {"q": "ada"})
        counted = await client.call_tool("count", {"steps": 3}, progress_callback=progress)
        said = {
            "revision": client.protocol_version,
            "server": client.server_info.name if client.server_info else None,
            "tools": sorted(t.name for t in tools),
            "find": found.content[0].text,
            "count": counted.content[0].text,
            "steps": len(steps),
        }
        try:
            erased = await client.call_tool("erase", {"q": "ada"})
            said["erase"] = ("error: " if erased.is_error else "") + erased.content[0].text
        except Exception as why:  # what the SDK raises for a JSON-RPC error
            said["erase"] = f"error: {why}"
        print(json.dumps(said))


parser = argparse.ArgumentParser()
parser.add_argument("url")
parser.add_argument("key", nargs="?")
parser.add_argument("--mode", default="auto")
asked = parser.parse_args()
asyncio.run(main(asked.url, asked.key, asked.mode))
