"""Answers of an HTTP server, also bad ones, and forged tokens, for `OpenIDProvider`."""

import base64
import gzip
import hashlib
import hmac
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from joserfc.jwk import ECKey, RSAKey


@dataclass(frozen=True)
class Received:
    """A request. `parameters` are those of the query or the form; names of headers are in lower case."""

    method: str
    path: str
    parameters: Mapping[str, str]
    headers: Mapping[str, str]


@dataclass(frozen=True)
class Reply:
    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    delay: float = 0
    """Seconds before the first byte."""
    pause: float = 0
    """Seconds after each byte of the body."""


Behaviour = Callable[[Received], Reply]


def to_json(value: object) -> bytes:
    return json.dumps(value).encode()


def reply_json(value: object, status: int = 200) -> Reply:
    return Reply(status, to_json(value), {"Content-Type": "application/json"})


def replying(reply: Reply) -> Behaviour:
    """The same answer to every request."""
    return lambda request: reply


def reply_slowly(seconds: float) -> Behaviour:
    return replying(Reply(200, b"{}", delay=seconds))


def reply_large(size: int) -> Behaviour:
    """A JSON object of this many bytes."""
    return replying(Reply(200, b'{"a": "' + b"x" * (size - 9) + b'"}', {"Content-Type": "application/json"}))


def reply_gzip_bomb(size: int) -> Behaviour:
    """A JSON object of this many bytes, compressed."""
    body = gzip.compress(b'{"a": "' + b"x" * (size - 9) + b'"}')
    return replying(Reply(200, body, {"Content-Type": "application/json", "Content-Encoding": "gzip"}))


def reply_redirect(url: str) -> Behaviour:
    return replying(Reply(302, headers={"Location": url}))


def unsigned(header: dict[str, Any], claims: dict[str, Any]) -> str:
    """A token with the algorithm `none` (RFC 7519 §6)."""
    return f"{_encoded(to_json({**header, 'alg': 'none'}))}.{_encoded(to_json(claims))}."


def signed_with_public_key(key: RSAKey | ECKey) -> Callable[[dict[str, Any], dict[str, Any]], str]:
    """A token whose HMAC has the public key as its secret (RFC 8725 §2.1)."""

    def sign(header: dict[str, Any], claims: dict[str, Any]) -> str:
        signed = f"{_encoded(to_json({**header, 'alg': 'HS256'}))}.{_encoded(to_json(claims))}"
        secret = key.as_bytes(encoding="PEM", private=False)
        return f"{signed}.{_encoded(hmac.digest(secret, signed.encode(), hashlib.sha256))}"

    return sign


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
