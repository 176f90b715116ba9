"""An MCP server on the Python SDK 2.x, which speaks both eras. server_2.py HOST PORT"""
import sys

import uvicorn
from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings

server = MCPServer("warehouse", version="3.1.4", log_level="WARNING")


@server.tool()
def find(q: str) -> str:
    """Find a thing."""
    return f"found {q}"


@server.tool()
async def count(ctx: Context, steps: int = 3) -> str:
    """Count aloud."""
    for step in range(steps):
        await ctx.report_progress(step + 1, steps, f"shelf {step + 1}")
    return "counted"


@server.tool()
def erase(q: str) -> str:
    """Erase a thing: what no grant should allow."""
    return f"erased {q}"


security = TransportSecuritySettings(enable_dns_rebinding_protection=False)
app = server.streamable_http_app(streamable_http_path="/mcp", transport_security=security, host=sys.argv[1])
uvicorn.run(app, host=sys.argv[1], port=int(sys.argv[2]), log_level="warning")
