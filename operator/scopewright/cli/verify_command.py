"""`scopewright verify`: the claims of the token on standard input, or why it is refused."""

import argparse
import json
import os
import re
import sys
from datetime import UTC, datetime
from typing import Final

from scopewright.cli.library_commands import GOOD, REFUSED, UNAVAILABLE, USAGE, UsageError, fail, write_output
from scopewright.cli.printable import printable
from scopewright.issuer_metadata import IssuerMismatch
from scopewright.origins import HttpUrl, host_names, host_of, is_secure
from scopewright.variables import ALLOW_HTTP
from scopewright.verifier import KeysUnavailable, Token, TokenRejected, Verifier
from scopewright.verifier.options import AUDIENCE, ISSUER, VerifierOptions, allow_http_of

_MAX_BYTES: Final = 64 * 1024
"""Of standard input. The verifier itself accepts shorter tokens."""
_HEADER: Final = re.compile(r"authorization\s*:|(bearer|dpop)\s", re.IGNORECASE)
_LAST_SECOND: Final = datetime.max.replace(tzinfo=UTC).timestamp() - 1


def verify_input(arguments: argparse.Namespace) -> int:
    try:
        verifier = _verifier(arguments)
        token = _read()
        verifier.ready_sync()
        verified = verifier.verify_sync(token, scopes=arguments.scope or ())
    except TokenRejected as refusal:
        return _refused(refusal, as_json=arguments.json)
    except KeysUnavailable as unavailable:
        return fail(UNAVAILABLE, f"the token cannot be verified: {unavailable}")
    except IssuerMismatch as mismatch:
        return fail(USAGE, mismatch.advising("pass --issuer "))
    except (ValueError, TypeError) as error:  # of the arguments and variables
        return fail(USAGE, str(error))
    printed = json.dumps(dict(verified.claims), default=dict) if arguments.json else _described(verified)
    write_output(f"{printed}\n")
    return GOOD


def _verifier(arguments: argparse.Namespace) -> Verifier:
    issuer = arguments.issuer or os.environ.get(ISSUER)
    if not issuer:
        raise UsageError(f"pass --issuer URL, or set {ISSUER}")
    if not (arguments.audience or os.environ.get(AUDIENCE)):
        raise UsageError(f"pass --audience URI, or set {AUDIENCE}")
    try:
        url = HttpUrl.parse(issuer)
    except ValueError as error:
        raise UsageError(f"{'--issuer' if arguments.issuer else ISSUER}: {error}") from None
    if not arguments.allow_http and not is_secure(url, host_names(ALLOW_HTTP, allow_http_of(os.environ))):
        raise UsageError(f"https is needed, except on loopback: {issuer}; use https, or pass --allow-http")
    options = VerifierOptions(allow_http=[host_of(url)]) if arguments.allow_http else {}
    return Verifier.from_env(issuer=arguments.issuer, audience=arguments.audience, **options)


def _read() -> str:
    """Return the token, without white space around it. Raise UsageError if there is none."""
    data = sys.stdin.buffer.read(_MAX_BYTES + 1) if sys.stdin else b""  # None: it is closed
    if len(data) > _MAX_BYTES:
        raise UsageError(f"standard input has more than {_MAX_BYTES} bytes, which is not a token")
    token = data.decode("ascii", "replace").strip()
    if not token:
        raise UsageError("there is no token on standard input: scopewright token | scopewright verify")
    if _HEADER.match(token):
        raise UsageError("standard input is a header: pass the token alone, without the name and Bearer or DPoP")
    if token.startswith("{"):
        raise UsageError("standard input is JSON: pass the token alone, which is its access_token")
    return token


def _refused(refusal: TokenRejected, *, as_json: bool) -> int:
    if as_json:
        reason = {"error": refusal.error, "error_description": refusal.description, "reason": refusal.reason.value}
        write_output(f"{json.dumps(reason)}\n")
        return REFUSED
    return fail(REFUSED, f"{refusal.error}: {refusal.description} ({refusal.reason.value})")


def _described(token: Token) -> str:
    expires_at = datetime.fromtimestamp(min(token.expires_at, _LAST_SECOND), UTC)
    lines = {
        "client": token.client_id,
        "subject": token.subject,
        "audience": " ".join(token.audience),
        "scopes": " ".join(sorted(token.scopes)) or "none",
        **({"roles": " ".join(sorted(token.roles))} if token.roles else {}),
        **({"session": token.sid} if token.sid else {}),
        "issuer": token.issuer,
        "expires": expires_at.isoformat(timespec="seconds").replace("+00:00", "Z"),
    }
    return "\n".join(f"{name:<9} {printable(value)}" for name, value in lines.items())
