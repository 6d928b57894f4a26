"""The authorization response of a provider, as the browser brought it (OpenID Connect Core §3.1.2.5). Pure checks."""

from collections.abc import Mapping
from typing import Final

from scopewright.issuer.upstream.login import LoginRefused, RefusedReason
from scopewright.upstream.discovery import ProviderMetadata

MAX_CODE: Final = 4096
"""Characters."""
_MAX_SHOWN: Final = 80
_DENIALS: Final = frozenset({"access_denied", "login_required"})


def code_of(parameters: Mapping[str, str], metadata: ProviderMetadata) -> str:
    """Return the code. Raises `LoginRefused`.

    `iss` is checked first, in error responses too: the response may be of another provider (mix-up, RFC 9207 §2.4).
    """
    issuer = parameters.get("iss")
    if issuer is None and metadata.sends_iss:
        raise LoginRefused("response_iss", "the response has no iss, which the provider always sends")
    if issuer is not None and issuer != metadata.issuer:
        raise LoginRefused("response_iss", "iss of the response is not the provider's issuer")
    if error := parameters.get("error"):
        reason: RefusedReason = "provider_denied" if error in _DENIALS else "provider_error"
        raise LoginRefused(reason, f"the provider answered {shown(error)}")
    code = parameters.get("code", "")
    if not 0 < len(code) <= MAX_CODE:
        raise LoginRefused("code", f"the response must have a code of at most {MAX_CODE} characters")
    return code


def shown(text: object) -> str:
    """Return text of a provider for a log: printable ASCII in quotes, at most 80 characters of it."""
    return ascii(text)[:_MAX_SHOWN]
