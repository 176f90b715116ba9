"""An MCP server on the Python SDK 1.x: sessions, or HTTP+SSE of 2024-11-05 with --sse. server_1.py HOST PORT [--sse]"""
import sys

from mcp.server.fastmcp import Context, FastMCP
from mcp.server.transport_security import TransportSecuritySettings

server = FastMCP(
    "staff-directory",
    host=sys.argv[1],
    port=int(sys.argv[2]),
    log_level="WARNING",
    transport_security=TransportSecuritySettings(enable_dns_rebinding_protection=False),
)


@server.tool()
def find(q: str) -> str:
    """Find a person."""
    return f"found {q}"


@server.tool()
async def count(ctx: Context, steps: int = 3) -> str:
    """Count aloud."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps)
    return "counted"


@server.tool()
def erase(q: str) -> str:
    """Erase a person: what no grant should allow."""
    return f"erased {q}"


server.run(transport="sse" if "--sse" in sys.argv else "streamable-http")
