"""How one token request says who asks: by a secret, an assertion, or the token of a ServiceAccount."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_plus

import jwt

from scopewright.client.key import parse_private_key
from scopewright.client.mounted import MountedCredentials

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME: Final = 60  # seconds; each request gets an assertion of its own


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """Headers and form fields of one request, and what of them nobody may see in a log."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)


def authenticate(credentials: MountedCredentials, now: float) -> ClientAuthentication:
    """A new one for each request: an assertion works once."""
    if credentials.client_secret is not None:
        return _basic(credentials.client_id, credentials.client_secret)
    if credentials.private_key is not None:
        return _assertion(credentials.client_id, _signed(credentials, credentials.private_key, now))
    return _assertion(credentials.client_id, credentials.service_account_token or "")


def _basic(client_id: str, secret: str) -> ClientAuthentication:
    """`client_secret_basic` with both halves form-encoded (RFC 6749 §2.3.1)."""
    pair = f"{quote_plus(client_id)}:{quote_plus(secret)}"
    encoded = base64.b64encode(pair.encode("ascii")).decode("ascii")
    return ClientAuthentication(headers={"Authorization": f"Basic {encoded}"}, hidden=(secret, encoded))


def _assertion(client_id: str, token: str) -> ClientAuthentication:
    """RFC 7523 §2.2."""
    form = {"client_id": client_id, "client_assertion_type": ASSERTION_TYPE, "client_assertion": token}
    return ClientAuthentication(form=form, hidden=(token,))


def _signed(credentials: MountedCredentials, private_key: str, now: float) -> str:
    """`private_key_jwt`: an assertion of the client about itself, for the issuer (RFC 7523 §3)."""
    key = parse_private_key(private_key)
    claims = {
        "iss": credentials.client_id,
        "sub": credentials.client_id,
        "aud": credentials.issuer,
        "iat": int(now),
        "exp": int(now) + _LIFETIME,
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode(claims, key.key, key.algorithm_name, {"kid": key.key_id} if key.key_id else None)
