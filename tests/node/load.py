"""Runs in a Pod: requests tokens and uses them, each attempt once and on its own connection, and counts the results.

    python3.11 load.py AUDIENCE URL [AUDIENCE URL…]

Every line of its output has the totals so far. There are no retries, so that failures that a client library would hide
are counted.
"""

import asyncio
import json
import random
import sys
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import httpx
import jwt

from scopewright.client import MountedSecret
from scopewright.client.authentication import authenticate
from scopewright.client.grant import TokenParameters
from scopewright.client.issuer_request import form_request

_PAUSE_SECONDS = 0.15
_TIMEOUT_SECONDS = 60.0
"""Timeout of a request: slow answers are late, failed ones lost."""
_KEPT_TOKENS = 200
_FAILURES_IN_LINE = 10
"""Failures in one line, because container logs cut lines at 16 KiB."""
_MARGIN_SECONDS = 10.0
"""Tokens are not used in these last seconds, because they may expire in flight."""


@dataclass
class Totals:
    tokens: int = 0
    accepted: int = 0
    no_token: list[str] = field(default_factory=list)
    """Token requests without a token."""
    refused: list[str] = field(default_factory=list)
    """Valid tokens that a service refused."""
    twice: list[str] = field(default_factory=list)
    """Tokens issued for an assertion that was used before."""
    spent: int = 0
    """Assertions that were refused at their second use."""
    lost: list[str] = field(default_factory=list)
    """Calls that failed for another reason."""
    secrets: int = 0
    """Different credentials that were used."""
    keys: list[str] = field(default_factory=list)
    """Keys that signed tokens."""


@dataclass(frozen=True)
class HeldToken:
    value: str
    audience: str
    ends: float


class Load:
    def __init__(self, services: dict[str, str]) -> None:
        self._services = services
        self._secret = MountedSecret("/var/run/secrets/oauth")
        self._held: deque[HeldToken] = deque(maxlen=_KEPT_TOKENS)
        self._seen: set[str] = set()
        self.totals = Totals()
        self.http = httpx.AsyncClient(timeout=_TIMEOUT_SECONDS, limits=httpx.Limits(max_keepalive_connections=0))

    async def request_token(self) -> None:
        """Request a token as the client library does."""
        audience = random.choice(list(self._services))
        credentials = self._secret.read(now=True)
        self._seen.add(credentials.client_secret or credentials.private_key or credentials.service_account_token or "")
        self.totals.secrets = len(self._seen)
        wanted = TokenParameters(audience).of(credentials)
        authentication = authenticate(credentials, time.time())
        endpoint = httpx.URL(credentials.token_endpoint or "")
        answer = await self._send(form_request(endpoint, wanted.form(), authentication))
        if answer is None:
            return
        if answer.status_code != 200:
            self._no_token(answer)
            return
        content = answer.json()
        self.totals.tokens += 1
        kid = str(jwt.get_unverified_header(content["access_token"])["kid"])
        self.totals.keys += [] if kid in self.totals.keys else [kid]
        self._held.append(HeldToken(content["access_token"], audience, time.time() + content["expires_in"]))

        if credentials.private_key is not None:
            await self._reuse_assertion(form_request(endpoint, wanted.form(), authentication))

    async def _reuse_assertion(self, request: httpx.Request) -> None:
        """Use an assertion a second time, at any issuer."""
        answer = await self._send(request)
        if answer is None:
            return
        if answer.status_code == 200:
            self.totals.twice.append(f"{time.time():.1f}")
        elif "invalid_client" in answer.text:
            self.totals.spent += 1
        else:
            self._no_token(answer)

    async def _send(self, request: httpx.Request) -> httpx.Response | None:
        try:
            return await self.http.send(request)
        except httpx.HTTPError as error:
            self.totals.no_token.append(f"{time.time():.1f} {error!r}")
            return None

    def _no_token(self, answer: httpx.Response) -> None:
        self.totals.no_token.append(f"{time.time():.1f} {answer.status_code} {answer.text[:300]}")

    async def use(self) -> None:
        """Use one of the valid tokens, of any age."""
        good = [held for held in self._held if held.ends - _MARGIN_SECONDS > time.time()]
        if not good:
            return
        held = random.choice(good)
        try:
            url = self._services[held.audience]
            answer = await self.http.get(url, headers={"Authorization": f"Bearer {held.value}"})
        except httpx.HTTPError as error:
            self.totals.lost.append(f"{time.time():.1f} {error!r}")
            return
        if answer.status_code == 200:
            self.totals.accepted += 1
            return
        failure = f"{time.time():.1f} {url} {answer.status_code} {answer.text[:300]}"
        if answer.status_code in (401, 403, 503):
            self.totals.refused.append(failure)
        elif "no token for a service" in answer.text:
            self.totals.no_token.append(failure)
        else:
            self.totals.lost.append(failure)


async def main(services: dict[str, str]) -> None:
    load = Load(services)

    async def again(what: Callable[[], Awaitable[None]]) -> None:
        while True:
            await what()
            await asyncio.sleep(_PAUSE_SECONDS)

    working = [asyncio.create_task(again(what)) for what in (load.request_token, load.use, load.use)]
    while not any(task.done() for task in working):
        figures = {
            name: value[:_FAILURES_IN_LINE] if isinstance(value, list) else value
            for name, value in vars(load.totals).items()
        }
        print(json.dumps(figures), flush=True)
        await asyncio.sleep(0.5)
    await asyncio.gather(*working)


if __name__ == "__main__":
    asyncio.run(main(dict(zip(sys.argv[1::2], sys.argv[2::2], strict=True))))
