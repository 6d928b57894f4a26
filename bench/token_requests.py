"""The requests of `tokens`, as bytes."""

import base64
import http.client
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from secrets import token_hex
from typing import Final
from urllib.parse import quote
from uuid import uuid4

from bench.token_clients import (
    AUDIENCE,
    SCOPE,
    SERVER,
    assertion,
    client_id,
    cluster_key,
    projected_token,
    secret,
)
from scopewright.issuer.protocol.request import JWT_BEARER

_HEADERS: Final = (
    "Host: issuer.example.org\r\n"
    "User-Agent: python-httpx/0.28.1\r\n"
    "Accept: application/json\r\n"
    "Accept-Encoding: gzip, deflate, br, zstd\r\n"
    "Connection: keep-alive\r\n"
    "X-Forwarded-For: 10.244.3.17\r\n"
    "X-Forwarded-Proto: https\r\n"
    "X-Request-Id: {request}\r\n"
    "Traceparent: 00-{trace}-{span}-01\r\n"
)
"""Headers that clients and proxies in front of an issuer usually send. The last two differ in each request."""
TOKENS_REMEMBERED: Final = 2_000
"""Each worker remembers so many introspections in any order (`scopewright.issuer.tokens.known_active`)."""
TOKENS_UNTIL_FORGOTTEN: Final = 4
"""Tokens of each client in the cases of unseen tokens. With 10,000 clients more than two workers remember."""

_FORM: Final = f"grant_type=client_credentials&resource={quote(AUDIENCE, safe='')}&scope={SCOPE}"


@dataclass(frozen=True, slots=True)
class RequestBatch:
    """`count` is the most requests that the next run can send; the issuer that gets them is ready at `port`."""

    clients: int
    count: int
    port: int


Requests = Callable[[RequestBatch], list[bytes]]
"""Complete requests: `count` if each can be sent only once, else one for each client, sent repeatedly."""


def basic(batch: RequestBatch) -> list[bytes]:
    return [_post(_FORM, _basic(client_id(n), secret(n))) for n in range(batch.clients)]


def post(batch: RequestBatch) -> list[bytes]:
    return [_post(f"{_FORM}&client_id={client_id(n)}&client_secret={secret(n)}") for n in range(batch.clients)]


def assertions(batch: RequestBatch) -> list[bytes]:
    """Each has a unique `jti`."""
    clients = (n % batch.clients for n in range(batch.count))
    return [_by_assertion(n, assertion(n)) for n in clients]


def projected_tokens(batch: RequestBatch) -> list[bytes]:
    return _projected_tokens(batch.clients, 1)


def many_projected_tokens(batch: RequestBatch) -> list[bytes]:
    """So many that a worker has forgotten each of them before it comes again."""
    return _projected_tokens(batch.clients, TOKENS_UNTIL_FORGOTTEN)


def introspections(batch: RequestBatch) -> list[bytes]:
    """Introspections by the API itself, of tokens that this issuer has just issued: as many as a worker remembers."""
    return _introspections(replace(batch, clients=min(batch.clients, TOKENS_REMEMBERED)), 1)


def many_introspections(batch: RequestBatch) -> list[bytes]:
    """So many that a worker has forgotten each of them before it comes again."""
    return _introspections(batch, TOKENS_UNTIL_FORGOTTEN)


def _projected_tokens(clients: int, each: int) -> list[bytes]:
    key = cluster_key()
    return [_by_assertion(n, projected_token(n, key, m)) for m in range(each) for n in range(clients)]


def _introspections(batch: RequestBatch, each: int) -> list[bytes]:
    api = ".".join(SERVER)
    return [
        _post(f"token={token}&token_type_hint=access_token", _basic(api, secret(api)), path="/introspect")
        for token in _tokens(batch, each)
    ]


def _tokens(batch: RequestBatch, each: int) -> Iterator[str]:
    connection = http.client.HTTPConnection("127.0.0.1", batch.port, timeout=10)
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        for n in list(range(batch.clients)) * each:
            connection.request("POST", "/token", _FORM, {**form, "Authorization": _basic(client_id(n), secret(n))})
            yield json.loads(connection.getresponse().read())["access_token"]
    finally:
        connection.close()


def _by_assertion(n: int, jwt: str) -> bytes:
    proof = f"client_id={client_id(n)}&client_assertion_type={quote(JWT_BEARER, safe='')}&client_assertion={jwt}"
    return _post(f"{_FORM}&{proof}")


def _basic(user: str, password: str) -> str:
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def _post(form: str, authorization: str = "", *, path: str = "/token") -> bytes:
    more = f"Authorization: {authorization}\r\n" if authorization else ""
    head = f"{more}Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(form)}\r\n\r\n{form}"
    headers = _HEADERS.format(request=uuid4(), trace=token_hex(16), span=token_hex(8))
    return f"POST {path} HTTP/1.1\r\n{headers}{head}".encode()
