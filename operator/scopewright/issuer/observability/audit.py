"""The members of a refusal in an audit line. They never contain a token or a secret.

Text that the caller chose is truncated, and has no control characters. An unknown client id is logged only as a hash:
it may be a secret in the wrong field.
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from scopewright.issuer.protocol.request import PresentedCredential
from scopewright.issuer.state.recognised import Recognised
from scopewright.serving.audit import Entry, truncated


def refusal(
    reason: str,
    presented: PresentedCredential | Recognised | None,
    parameters: Mapping[str, Any],
    *,
    known: bool,
) -> Entry:
    """The members of a refusal. `known`: the client id is that of a record; the caller may be another."""
    more: Entry = {"reason": reason}
    if presented is not None:
        client_id = presented.client_id
        more["client" if known else "client_sha256"] = client_id if known else _hash(client_id)
        more["method"] = presented.method
    return more | {name: truncated(value) for name, value in parameters.items()}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]
