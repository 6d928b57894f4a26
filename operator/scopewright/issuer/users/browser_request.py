"""What a browser sent: its cookies, and the forms of our own pages."""

import re

from starlette.requests import Request

from scopewright.issuer.protocol.request import FORM_TYPE, MAX_BODY_BYTES, Form, decode_form, is_form, parse_form
from scopewright.issuer.users.problems import PageProblem

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?")
_OWN_SITES = (None, "same-origin", "none")
"""Of Sec-Fetch-Site: absent (older browsers, and without TLS), our own page, and a reload by the user."""


async def authorization_parameters(request: Request) -> Form:
    """The parameters of an authorization request, from the query or (POST) from the body. Repeated ones are kept."""
    if request.method == "POST":
        return decode_form(await form_body(request))
    return decode_form(request.scope["query_string"])


async def own_form(request: Request) -> Form:
    """The form of one of our pages; raises PageProblem if another site has sent it."""
    if request.headers.get("sec-fetch-site") not in _OWN_SITES:
        raise PageProblem("The form came from another site. Nothing was changed.", reason="cross_site", status=403)
    return parse_form(await form_body(request))


def sent_cookies(request: Request) -> dict[str, str]:
    """The cookies by name, with their values as they are. Of several of one name, the first: the browser sends the one
    with the longest path first (RFC 6265 §5.4), so a cookie that another host has set for `/` hides none of ours.

    Not `request.cookies`: the standard library removes quotes in quadratic time (CVE-2024-7592).
    """
    cookies: dict[str, str] = {}
    for pair in request.headers.get("cookie", "").split(";"):
        name, _, value = pair.partition("=")
        cookies.setdefault(name.strip(), value.strip())
    return cookies


def host_name(request: Request) -> str:
    """The host that the browser believes to talk to, in lower case, without port and brackets; empty if malformed."""
    match = _HOST.fullmatch(request.headers.get("host", ""))
    return match[1].strip("[]").lower() if match else ""


async def form_body(request: Request) -> bytes:
    """The body of a form, of any site; raises PageProblem if it is not one."""
    if not is_form(request.headers.get("content-type", "").encode("latin-1")):
        raise PageProblem(f"The request must be a form ({FORM_TYPE}).", reason="content_type", status=415)
    body = await request.body()
    if len(body) > MAX_BODY_BYTES:
        raise PageProblem("The form is too large.", reason="body_size", status=413)
    return body
