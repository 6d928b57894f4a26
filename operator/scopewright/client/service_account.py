"""Checks a ServiceAccount token before it is sent as client assertion: the issuer must be its only audience."""

import json
from pathlib import Path

from scopewright import base64url
from scopewright.client.errors import SecretError, printable

_MAX_SHOWN_AUDIENCES = 5  # in a message


def require_audience(token: str, issuer: str, file: Path) -> None:
    """Raises `SecretError` unless `issuer` is the one audience of the token.

    A recipient can use a token at its other audiences, such as the API server. The issuer checks the signature. A
    token without `aud`, as in Secrets of type kubernetes.io/service-account-token, is for the API server.
    """
    audiences = _audiences(token)
    if audiences == [issuer]:
        return
    if audiences is None:
        problem = "is not a JWT with audiences"
    else:
        problem = f"is for {', '.join(audiences[:_MAX_SHOWN_AUDIENCES]) or 'the API server'}"
    raise SecretError(
        f"the ServiceAccount token {file} {printable(problem)}, and must be for the issuer alone; "
        f"project one with serviceAccountToken: {{audience: {issuer}}}{_advice_for_dev(issuer)}"
    )


def _advice_for_dev(issuer: str) -> str:
    """An issuer on plain HTTP is that of `scopewright dev`, where no kubelet projects a token."""
    if not issuer.startswith("http://"):
        return ""
    return ", or make one with scopewright dev-token, whose --state is that of scopewright dev"


def _audiences(token: str) -> list[str] | None:
    """None if they cannot be read."""
    parts = token.split(".")
    try:
        claims = json.loads(base64url.decode(parts[1]))
    except (ValueError, IndexError, RecursionError):
        return None
    if len(parts) != 3 or not isinstance(claims, dict):
        return None
    named = claims.get("aud", [])
    listed = [named] if isinstance(named, str) else named
    if not isinstance(listed, list) or not all(isinstance(name, str) for name in listed):
        return None
    return listed
