"""Client authentication of one token request: by a secret, an assertion, or the token of a ServiceAccount."""

import base64
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import quote_plus

import jwt

from scopewright.client.credentials import MountedCredentials
from scopewright.client.key import parse_private_key

ASSERTION_TYPE: Final = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
_LIFETIME_SECONDS: Final = 60  # each request has its own assertion


@dataclass(frozen=True, slots=True)
class ClientAuthentication:
    """Headers and form fields of one request. `hidden` are the values in them that must not be logged."""

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    form: Mapping[str, str] = field(default_factory=dict, repr=False)
    hidden: tuple[str, ...] = field(default=(), repr=False)


def authenticate(credentials: MountedCredentials, now: float) -> ClientAuthentication:
    """Call it for each request: an assertion is valid only once. `now` is in seconds since 1970."""
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
    """A JWT as client assertion (RFC 7523 §2.2)."""
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
        "exp": int(now) + _LIFETIME_SECONDS,
        "jti": secrets.token_urlsafe(16),
    }
    return jwt.encode(claims, key.key, key.algorithm_name, {"kid": key.key_id} if key.key_id else None)
