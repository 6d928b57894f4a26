"""The floors of `tokens`: the least that Python does for a response, with uvloop, httptools and `cryptography`.

They check nothing, keep no record, and write no audit line. Every request gets the same response, which is one of the
issuer with its length. Signatures are made and thrown away. What a request proves is verified as the issuer must.
"""

import asyncio
import binascii
import hashlib
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from httptools import HttpRequestParser

Verify = Callable[[bytes], None]
"""Raises InvalidSignature. The value is a JWT."""

INPUT: Final = b"x" * 400
"""As long as the signing input of a typical token."""
_SHA256: Final = hashes.SHA256()
_ECDSA: Final = ec.ECDSA(_SHA256)
_PKCS1: Final = padding.PKCS1v15()
_FROM_URL_SAFE: Final = bytes.maketrans(b"-_", b"+/")
_SET: Final = b"*6\r\n$3\r\nSET\r\n$86\r\n%b\r\n$0\r\n\r\n$2\r\nNX\r\n$2\r\nPX\r\n$6\r\n360000\r\n"
_REPLY_LENGTH: Final = 5
"""Of `+OK` and of nil, each with its line end."""


@dataclass(slots=True)
class Work:
    """What the connections of a process share."""

    answer: bytes
    sign: Callable[[], object]
    verify: Verify
    client_keys: Mapping[bytes, ec.EllipticCurvePublicKey]
    store: "Store | None" = None
    seen: set[bytes] = field(default_factory=set)
    """Digests of the tokens that were verified."""


class FixedAnswer(asyncio.Protocol):
    """The transport alone."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self._answer = work.answer
        self._sign = work.sign
        self._feed = HttpRequestParser(self).feed_data
        self._write: Callable[[bytes], None]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = transport.write  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._feed(data)

    def on_message_complete(self) -> None:
        self._write(self._answer)


class Signature(FixedAnswer):
    """One signature: a token by secret."""

    def on_message_complete(self) -> None:
        self._sign()
        self._write(self._answer)


class _WithBody(FixedAnswer):
    _body = b""

    def on_body(self, body: bytes) -> None:
        self._body += body

    def _take_body(self) -> bytes:
        body, self._body = self._body, b""
        return body


class Assertion(_WithBody):
    """One ES256 verification by the client's key, one round trip to the replay memory, one signature."""

    def on_message_complete(self) -> None:
        body, work = self._take_body(), self._work
        client = body.partition(b"client_id=")[2].partition(b"&")[0]
        signed, _, signature = body.rpartition(b"=")[2].rpartition(b".")
        work.client_keys[client].verify(_der(_decoded(signature)), signed, _ECDSA)
        assert work.store is not None
        work.store.set(signature, self.answer)

    def connection_lost(self, exc: Exception | None) -> None:
        """The load generator ends while requests wait for the store."""
        self._write = lambda _: None

    def answer(self) -> None:
        self._sign()
        self._write(self._answer)


class UnseenProof(_WithBody):
    """One RS256 verification, one signature: a ServiceAccount token."""

    def on_message_complete(self) -> None:
        self._work.verify(self._take_body().rpartition(b"=")[2])
        self._sign()
        self._write(self._answer)


class SeenProof(_WithBody):
    """The SHA-256 of the token and a lookup, one signature: a ServiceAccount token that was verified before."""

    def on_message_complete(self) -> None:
        _verify_once(self._work, self._take_body().rpartition(b"=")[2])
        self._sign()
        self._write(self._answer)


class UnseenToken(_WithBody):
    """One ES256 verification: introspection."""

    def on_message_complete(self) -> None:
        self._work.verify(self._take_body().partition(b"&")[0][len(b"token=") :])
        self._write(self._answer)


class SeenToken(_WithBody):
    """The SHA-256 of the token and a lookup: introspection of a token that was verified before."""

    def on_message_complete(self) -> None:
        _verify_once(self._work, self._take_body().partition(b"&")[0][len(b"token=") :])
        self._write(self._answer)


class Store(asyncio.Protocol):
    """One connection to a Redis. The commands of one turn of the event loop are one write."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._commands: list[bytes] = []
        self._waiting: deque[Callable[[], None]] = deque()
        self._partial = 0
        self._transport: asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def set(self, key: bytes, then: Callable[[], None]) -> None:
        """`key` has the length of an ES256 signature in base64url. The reply is not read: `then` runs once it came."""
        if not self._commands:
            self._loop.call_soon(self._send)
        self._commands.append(_SET % key)
        self._waiting.append(then)

    def _send(self) -> None:
        self._transport.write(b"".join(self._commands))
        self._commands.clear()

    def data_received(self, data: bytes) -> None:
        replies, self._partial = divmod(self._partial + len(data), _REPLY_LENGTH)
        for _ in range(replies):
            self._waiting.popleft()()


PROTOCOLS: Final[Mapping[str, tuple[type[FixedAnswer], str]]] = {
    "fixed": (FixedAnswer, "a fixed response"),
    "es256": (Signature, "ES256 signature"),
    "rs256": (Signature, "RS256 signature"),
    "private-key-jwt": (Assertion, "verification, Redis, signature"),
    "service-account": (SeenProof, "SHA-256, signature"),
    "service-account-unseen": (UnseenProof, "RS256 verification, signature"),
    "introspection": (SeenToken, "SHA-256"),
    "introspection-unseen": (UnseenToken, "ES256 verification"),
}
"""By the name of the floor; with what it does beside reading the request and writing the response."""


def verifier(key: Any) -> Verify:
    """Verifies JWTs of the key: ES256 or RS256."""
    if isinstance(key, ec.EllipticCurvePublicKey):

        def verify_ec(token: bytes) -> None:
            signed, _, signature = token.rpartition(b".")
            key.verify(_der(_decoded(signature)), signed, _ECDSA)

        return verify_ec
    assert isinstance(key, rsa.RSAPublicKey)

    def verify_rsa(token: bytes) -> None:
        signed, _, signature = token.rpartition(b".")
        key.verify(_decoded(signature), signed, _PKCS1, _SHA256)

    return verify_rsa


def signer(key: Any) -> Callable[[], object]:
    """Makes signatures of the private key: ES256 or RS256."""
    if isinstance(key, ec.EllipticCurvePrivateKey):
        return lambda: key.sign(INPUT, _ECDSA)
    assert isinstance(key, rsa.RSAPrivateKey)
    return lambda: key.sign(INPUT, _PKCS1, _SHA256)


def _verify_once(work: Work, token: bytes) -> None:
    digest = hashlib.sha256(token).digest()
    if digest not in work.seen:
        work.verify(token)
        work.seen.add(digest)


def _decoded(base64url: bytes) -> bytes:
    return binascii.a2b_base64(base64url.translate(_FROM_URL_SAFE) + b"==")


def _der(raw: bytes) -> bytes:
    return encode_dss_signature(int.from_bytes(raw[:32]), int.from_bytes(raw[32:]))
