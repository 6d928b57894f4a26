"""A client of the HR system, which requests tokens with its mounted Secret and calls services, rightly and wrongly."""

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
MAX_WAIT_SECONDS = 8.0  # within this time a change of the manifests must be in force


class Caller:
    def __init__(self, system: System, client_id: str) -> None:
        self.name = client_id.partition(".")[2]
        self.secret = system.secret(client_id)
        self._system = system

    def credentials(self) -> MountedCredentials:
        return MountedSecret(self.secret).read()

    async def token_answer(self, api: str, scope: str = "", client_secret: str = "") -> httpx.Response:
        """The answer of the token endpoint."""
        credentials = self.credentials()
        form = {"grant_type": "client_credentials", "resource": audience(api), "scope": scope}
        return await self._system.http.post(
            str(credentials.token_endpoint),
            data=form,
            auth=(credentials.client_id, client_secret or credentials.client_secret or ""),
        )

    async def token(self, api: str) -> str:
        answer = await self.token_answer(api)
        value: str = answer.raise_for_status().json()["access_token"]
        return value

    async def call(self, method: str, api: str, path: str, token: str | None = None, body: str = "") -> httpx.Response:
        """Call with this token. Default: the client library gets one, as in a service."""
        url = self._system.urls[api] + path
        if token is not None:
            headers = {"Authorization": f"Bearer {token}"}
            return await self._system.http.request(method, url, headers=headers, content=body)
        auth = ClientCredentials(self.secret, resource=audience(api), http=self._system.http)
        return await self._system.http.request(method, url, auth=auth, content=body)


async def eventually(attempt: Attempt, expected: Expected) -> tuple[Answer, float]:
    """The expected answer, or the last one before the timeout, and the seconds that it took."""
    began = time.monotonic()
    while True:
        try:
            answer = Answer.of(await attempt())
        except SecretError as error:  # not written yet
            answer = Answer(0, error.error, error.description)
        waited = time.monotonic() - began
        if answer.meets(expected) or waited > MAX_WAIT_SECONDS:
            return answer, waited
        await asyncio.sleep(0.1)


def altered(token: str) -> str:
    """The token with more scopes and its former signature."""
    header, payload, signature = token.split(".")
    return ".".join([header, _encoded({**_decoded(payload), "scope": "payroll.read payroll.write"}), signature])


def unsigned(token: str) -> str:
    """The token with `alg: none` and no signature."""
    header, payload, _ = token.split(".")
    return ".".join([_encoded({**_decoded(header), "alg": "none"}), payload, ""])


def _decoded(part: str) -> dict[str, Any]:
    decoded: dict[str, Any] = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
    return decoded


def _encoded(part: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode()
