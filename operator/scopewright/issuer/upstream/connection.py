"""The requests to one provider: its metadata and keys, which are kept, its token endpoint and userinfo."""

import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from typing import Any, Final, Literal

from scopewright.core.records.identity_provider import UpstreamClient
from scopewright.issuer.upstream.refetched import Refetched, Timer
from scopewright.issuer.upstream.slots import RequestSlots
from scopewright.upstream import UpstreamFailed
from scopewright.upstream.discovery import ProviderMetadata, fetch_keys, fetch_metadata
from scopewright.upstream.http import UpstreamAnswer, UpstreamHttp
from scopewright.upstream.provider_keys import ProviderKeys
from scopewright.verifier.jws import Signed
from scopewright.verifier.keyset import Key

Operation = Literal["discovery", "keys", "token", "userinfo"]
Observe = Callable[[str, Operation, str], None]
"""Is called after each request to a provider: its name, the operation, and `ok` or the reason of its failure."""
Report = Callable[[str, Operation, UpstreamFailed | None], None]
"""The same, with the failure itself."""
Within = Callable[[str, Operation], AbstractContextManager[None]]
"""What surrounds a request to a provider: its name, and the operation."""

METADATA_SECONDS: Final = 3600.0
KEYS_SECONDS: Final = 300.0
"""Ages at which they are fetched again on their next use."""
UNKNOWN_KEY_SECONDS: Final = 60.0
"""Between two fetches because of a key that is not known."""


class ProviderConnection:
    """All methods raise `UpstreamFailed`. `close` it at the end; it does not close `http`."""

    def __init__(
        self,
        name: str,
        oidc: UpstreamClient,
        http: UpstreamHttp,
        *,
        allow_loopback: bool,
        report: Report,
        within: Within = lambda provider, operation: nullcontext(),
        timer: Timer = time.monotonic,
    ) -> None:
        self._name = name
        self._oidc = oidc
        self._http = http
        self._allow_loopback = allow_loopback
        self._report = report
        self._within = within
        self._timer = timer
        self._slots = RequestSlots()
        self._metadata = Refetched(self._fetch_metadata, METADATA_SECONDS, timer)
        self._keys = Refetched(self._fetch_keys, KEYS_SECONDS, timer)
        self._next_for_unknown_key = float("-inf")

    async def metadata(self) -> ProviderMetadata:
        return await self._metadata.get()

    async def key(self, signed: Signed) -> Key | None:
        """Return the provider's key for a token; None if it publishes none. An unknown one causes one fetch, then a
        pause.
        """
        key = _key_of(signed, await self._keys.get())
        for _ in range(2):  # a fetch in progress may have begun before the key was published: then another one follows
            if key is None and (self._keys.is_fetching or self._timer() >= self._next_for_unknown_key):
                if not self._keys.is_fetching:
                    self._next_for_unknown_key = self._timer() + UNKNOWN_KEY_SECONDS
                key = _key_of(signed, await self._keys.refetch())
        return key

    async def post_token(self, url: str, form: Mapping[str, str], headers: Mapping[str, str]) -> UpstreamAnswer:
        """Return the answer of the token endpoint, of any status below 500 but 401."""
        async with self._observed("token"):
            answer = await self._http.post(url, form, headers)
            if answer.status == 401:
                message = f"{url} refused the client: check clientID and the client secret at the provider"
                raise UpstreamFailed("Refused", message)
            return _below_500(answer)

    async def get_userinfo(self, url: str, access_token: str) -> UpstreamAnswer:
        """Return the answer of the userinfo endpoint, of any status below 500."""
        async with self._observed("userinfo"):
            return _below_500(await self._http.get(url, {"Authorization": f"Bearer {access_token}"}))

    def close(self) -> None:
        self._metadata.close()
        self._keys.close()

    async def _fetch_metadata(self, _: ProviderMetadata | None) -> ProviderMetadata:
        async with self._observed("discovery"):
            oidc = self._oidc
            return await fetch_metadata(
                self._http, oidc.issuer_url, oidc.signing_algorithms, allow_loopback=self._allow_loopback
            )

    async def _fetch_keys(self, previous: ProviderKeys | None) -> ProviderKeys:
        metadata = await self._metadata.get()
        async with self._observed("keys"):
            return await fetch_keys(self._http, metadata, previous)

    @asynccontextmanager
    async def _observed(self, operation: Operation) -> AsyncIterator[None]:
        try:
            with self._within(self._name, operation):
                async with self._slots.taken():
                    yield
        except UpstreamFailed as failure:
            self._report(self._name, operation, failure)
            raise
        self._report(self._name, operation, None)


def _key_of(signed: Signed, keys: ProviderKeys) -> Key | None:
    """A token has no kid if its issuer has one key (OpenID Connect Core §10.1): the only one that fits is used. If it
    does not verify the token, it has been replaced.
    """
    kid, algorithm = signed.header.get("kid"), signed.header["alg"]
    if kid is not None:
        return keys.get(kid, algorithm)
    key = keys.sole(algorithm)
    return key if key is not None and key.verifies(signed.signing_input, signed.signature) else None


def _below_500(answer: UpstreamAnswer) -> UpstreamAnswer:
    return answer.require_ok() if answer.status >= 500 else answer


def error_of(answer: UpstreamAnswer) -> str:
    """Return the error code of an OAuth error response (RFC 6749 §5.2); empty if there is none."""
    try:
        error: Any = answer.json().get("error")
    except UpstreamFailed:
        return ""
    return error if isinstance(error, str) else ""
