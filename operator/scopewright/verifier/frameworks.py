"""Turns a refusal into the HTTP exception of the web framework in use. Imports no framework.

A framework treats `TokenRejected` alone as an error of the application: it logs it, and calls the handlers for
`Exception`. The framework's own HTTP exceptions are answers.
"""

import functools
import sys
from collections.abc import Mapping
from typing import Any, Final, TypeVar

from scopewright.verifier.refusals import KeysUnavailable, TokenRejected

Refusal = TypeVar("Refusal", bound=TokenRejected | KeysUnavailable)

DJANGO: Final = "django"
_MOST_MIDDLEWARE: Final = 50
LITESTAR: Final = "litestar"
MCP: Final = "mcp"
_EXCEPTIONS: Final = {
    "starlette": ("starlette.exceptions", "HTTPException"),  # FastAPI's is a subclass
    LITESTAR: ("litestar.exceptions", "HTTPException"),
    DJANGO: ("django.core.exceptions", "PermissionDenied"),  # it has none for 401
    MCP: ("mcp.server.mcpserver.exceptions", "ToolError"),  # the text of any other is not shown to the client
}


def frameworks_of(request: Any) -> tuple[str, ...]:
    """The frameworks that define the class of `request`; for an ASGI scope, every web framework that is imported."""
    packages = {cls.__module__.partition(".")[0] for cls in type(request).__mro__}
    imported = [name for name, (module, _) in _EXCEPTIONS.items() if module in sys.modules]
    return tuple(name for name in imported if name in packages) or tuple(name for name in imported if name != MCP)


def scope_of(request: Any) -> Any:
    """The ASGI scope of a request, or of the context of an MCP tool."""
    context = getattr(request, "request_context", None)
    if context is not None:
        if context.request is None:
            raise RuntimeError("the tool was not called over HTTP, and has no token: do not serve it by stdio")
        return context.request.scope
    return getattr(request, "scope", request)


def own_root_path(app: Any) -> str:
    """`FastAPI(root_path=…)`, also inside of other middleware. FastAPI puts it in place of the server's `root_path`."""
    for _ in range(_MOST_MIDDLEWARE):
        if any(cls.__module__ == "fastapi.applications" for cls in type(app).__mro__):
            return str(app.root_path or "")
        app = getattr(app, "app", None)
    return ""


def as_http_exception(refusal: TokenRejected, frameworks: tuple[str, ...], headers: Mapping[str, str]) -> TokenRejected:
    """The same refusal, as an instance of each framework's HTTP exception too."""
    bases = tuple(getattr(sys.modules[module], name) for module, name in (_EXCEPTIONS[each] for each in frameworks))
    return refusal_as(bases, refusal, headers=dict(headers), extra=None)


def refusal_as(bases: tuple[type, ...], refusal: Refusal, **attributes: Any) -> Refusal:
    """The same refusal, as an instance of `bases` too. Their `__init__` is not called: pass what it would set."""
    if not bases:
        return refusal
    kind: Any = type(refusal)
    raised: Refusal = _class_for(kind, bases)(refusal.description)
    raised.__dict__.update(refusal.__dict__, status_code=refusal.status, detail=refusal.description, **attributes)
    return raised


def is_error_of_tool(content: Any, refusal: TokenRejected) -> bool:
    """Whether a JSON-RPC response is the error that MCP makes of the exception."""
    result = content.get("result") if isinstance(content, dict) else None
    if not isinstance(result, dict) or result.get("isError") is not True:
        return False
    return any(refusal.description in str(part.get("text")) for part in result.get("content", ()))


def answer_in_litestar(scope: Any, refusal: TokenRejected) -> None:
    """Adds an exception handler for the refusal to this connection if no specific handler exists.

    Litestar passes its HTTP exceptions to an application's handler for `Exception` or for status 500 too.
    """
    states, responses = sys.modules.get("litestar.utils.scope.state"), sys.modules.get("litestar.response")
    if states is None or responses is None or not hasattr(states, "ScopeState"):
        return
    state = states.ScopeState.from_scope(scope)
    handlers = getattr(state, "exception_handlers", None)
    if not isinstance(handlers, Mapping):
        return
    specific = [
        refusal.status,
        *(cls for cls in type(refusal).__mro__ if cls not in (Exception, BaseException, object)),
    ]
    if not any(each in handlers for each in specific):

        def answer(_: Any, raised: Any) -> Any:
            return responses.Response(raised.detail, status_code=raised.status_code, headers=raised.headers)

        state.exception_handlers = {**handlers, TokenRejected: answer}


@functools.cache
def _class_for(refusal: type[Any], bases: tuple[type, ...]) -> type[Any]:
    own = {"__init__": Exception.__init__, "__str__": Exception.__str__, "__repr__": Exception.__repr__}
    return type(refusal.__name__, (refusal, *bases), {**own, "__module__": refusal.__module__})
