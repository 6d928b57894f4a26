"""The token in a request (RFC 6750 §2): the Authorization header, and no other way."""

import re
from collections.abc import Sequence
from urllib.parse import parse_qsl

from scopewright.verifier.refusals import Reason, Rejected

_B64TOKEN = re.compile(r"[A-Za-z0-9\-._~+/]+=*")


def bearer_token(authorization: str | Sequence[str] | None, query_string: str = "") -> str:
    """The token, from all values of the Authorization header. Raises `Rejected`.

    A token in the query ends up in logs (RFC 6750 §2.3) and is not taken: alone it counts as none, beside the header
    as a second way of sending.
    """
    values = [authorization] if isinstance(authorization, str) else list(authorization or ())
    in_query = "access_token" in query_string and any(
        name == "access_token" for name, _ in parse_qsl(query_string, keep_blank_values=True)
    )
    bearers = [rest.strip(" ") for scheme, _, rest in (v.partition(" ") for v in values) if scheme.lower() == "bearer"]
    if len(values) > 1 or (bearers and in_query):
        raise Rejected(Reason.TWO_WAYS)
    if not bearers or not bearers[0]:
        raise Rejected(Reason.MISSING)
    if not _B64TOKEN.fullmatch(bearers[0]):
        raise Rejected(Reason.MALFORMED)
    return bearers[0]
