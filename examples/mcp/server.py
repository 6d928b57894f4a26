"""The HR system for assistants: an MCP server whose tools need scopes of their own.

| tool | needs, besides hr.read |
| --- | --- |
| `list_leave` | nothing |
| `approve_leave` | the scope `leave.approve` |
| `get_salary` | the scope `salary.read` and the role `payroll-manager` |
"""

from copy import deepcopy
from typing import Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from scopewright.verifier import RequireToken, Verifier, protect, require

SALARIES = {3: 61_000, 7: 54_000, 9: 72_000}
LEAVE = {
    1: {"id": 1, "employee": 7, "first": "2027-07-05", "days": 10, "status": "requested"},
    2: {"id": 2, "employee": 9, "first": "2027-08-02", "days": 40, "status": "requested"},
}


def build(verifier: Verifier) -> RequireToken:
    """The audience of `verifier` is the URL of this server, such as http://127.0.0.1:9200/mcp."""
    leave: dict[int, dict[str, Any]] = deepcopy(LEAVE)
    server = MCPServer("HR")

    @server.tool()
    async def list_leave(employee: int) -> list[dict[str, Any]]:
        """The requests for leave of an employee."""
        return [asked for asked in leave.values() if asked["employee"] == employee]

    @server.tool()
    async def approve_leave(number: int, ctx: Context) -> dict[str, Any]:
        """Approve a request for leave."""
        token = require(ctx, "leave.approve")
        if number not in leave:
            raise ToolError(f"there is no request for leave {number}; list_leave has the numbers")
        leave[number] |= {"status": "approved", "by": token.subject}
        return leave[number]

    @server.tool()
    async def get_salary(employee: int, ctx: Context) -> int:
        """The yearly salary of an employee."""
        require(ctx, "salary.read", roles=["payroll-manager"])
        if employee not in SALARIES:
            raise ToolError(f"there is no employee {employee}")
        return SALARIES[employee]

    app = server.streamable_http_app(stateless_http=True, json_response=True)
    return protect(app, verifier, ["hr.read"], resource_metadata=True)


def create() -> RequireToken:
    return build(Verifier.from_env())
