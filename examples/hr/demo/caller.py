"""A client of the HR system: it gets tokens with its mounted Secret, and sends them where they belong, or do not."""

import asyncio
import base64
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from examples.hr.demo.report import Answer, Expected
from examples.hr.demo.system import System, audience
from scopewright.client import ClientCredentials, MountedCredentials, MountedSecret, SecretError

Attempt = Callable[[], Awaitable[httpx.Response]]
AT_ONCE = 8.0  # seconds within which a change of the manifests must have come into force


class Caller:
    def __init__(self, system: System, client_id: str) -> None:
        self.name = client_id.partition(".")[2]
        self.secret = system.secret(client_id)
        self._system = system

    def credentials(self) -> MountedCredentials:
        return MountedSecret(self.secret).read()

    async def token_answer(self, api: str, scope: str = "", client_secret: str = "") -> httpx.Response:
        """What the token endpoint answers, as it comes."""
        credentials = self.credentials()
        form = {"grant_type": "client_credentials", "resource": audience(api), "scope": scope}
        return await self._system.http.post(
            credentials.token_endpoint,
            data=form,
            auth=(credentials.client_id, client_secret or credentials.client_secret or ""),
        )

    async def token(self, api: str) -> str:
        answer = await self.token_answer(api)
        value: str = answer.raise_for_status().json()["access_token"]
        return value

    async def call(self, method: str, api: str, path: str, token: str | None = None, body: str = "") -> httpx.Response:
        """With the token given; or else as a service does it, where the client library sees to the token."""
        url = self._system.urls[api] + path
        if token is not None:
            headers = {"Authorization": f"Bearer {token}"}
            return await self._system.http.request(method, url, headers=headers, content=body)
        auth = ClientCredentials(self.secret, resource=audience(api), http=self._system.http)
        return await self._system.http.request(method, url, auth=auth, content=body)


async def eventually(attempt: Attempt, expected: Expected) -> tuple[Answer, float]:
    """The expected answer, or the last one before patience ended; and the seconds that it took."""
    began = time.monotonic()
    while True:
        try:
            answer = Answer.of(await attempt())
        except SecretError as error:  # not made yet
            answer = Answer(0, error.error, error.description)
        waited = time.monotonic() - began
        if answer.meets(expected) or waited > AT_ONCE:
            return answer, waited
        await asyncio.sleep(0.1)


def altered(token: str) -> str:
    """The token with more scopes, and its old signature."""
    header, payload, signature = token.split(".")
    return ".".join([header, _encoded({**_decoded(payload), "scope": "payroll.read payroll.write"}), signature])


def unsigned(token: str) -> str:
    """The token as one that claims to need no signature."""
    header, payload, _ = token.split(".")
    return ".".join([_encoded({**_decoded(header), "alg": "none"}), payload, ""])


def _decoded(part: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
