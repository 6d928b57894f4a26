"""Pushed authorization requests (RFC 9126): stored by `/par`, and read when a browser brings their `request_uri`.

A browser may come for 90 s. The request is then kept for the login that begins, which finds it by its handle. It is
used up by the write that stores the code, so that of several browsers and tabs one gets a code. An error that is sent
to the client uses it up too.
"""

import re
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar

from scopewright import base64url
from scopewright.issuer.protocol.request import Form
from scopewright.issuer.state.entries import Client
from scopewright.issuer.users.attempts import ATTEMPT_SECONDS
from scopewright.issuer.users.compare_and_set import retry_lost, save_or_lose
from scopewright.issuer.users.problems import PageProblem
from scopewright.issuer.users.stored import Pushed, decode_stored, encode_stored
from scopewright.rate_budget import Clock
from scopewright.stores.sessions.sealed import Forget, Save, SealedSessions

T = TypeVar("T")

PUSHED_SECONDS: Final = 90
"""`expires_in`: until then a browser may come with the `request_uri`."""
KEPT_SECONDS: Final = PUSHED_SECONDS + ATTEMPT_SECONDS
"""From the first browser on: the last one may begin an attempt of 600 s after 90 s."""
URN: Final = "urn:ietf:params:oauth:request_uri:"
"""RFC 9126 §2.2."""

_SECRET_BYTES: Final = 32
_HANDLE: Final = re.compile(r"[A-Za-z0-9_-]{43}")
_WITHDRAWN_SECONDS: Final = 1


@dataclass(frozen=True, slots=True)
class FoundPushed:
    """A pushed request as it was read. It is not used up."""

    handle: str
    version: int
    pushed: Pushed


class PushedRequests:
    """Methods that read or write raise `Unavailable` while the store is away."""

    def __init__(self, store: SealedSessions, clock: Clock) -> None:
        self._store = store
        self._clock = clock

    async def push(self, handle: str, client: Client, parameters: Mapping[str, Sequence[str]]) -> str:
        """Store a request under `new_handle()`; return its `request_uri`."""
        kept = {name: tuple(values) for name, values in parameters.items()}
        pushed = Pushed(client.client_id, client.uid_hash, kept, self._clock() + PUSHED_SECONDS)
        await self._store.write(Save(_key(handle), encode_stored(pushed), PUSHED_SECONDS, 0))
        return URN + handle

    async def withdraw(self, handle: str) -> None:
        """Delete a request, unless a browser has come with it."""
        nothing = encode_stored(Pushed("", "", {}, 0.0, used=True))
        await self._store.write(Save(_key(handle), nothing, _WITHDRAWN_SECONDS, 1))

    async def of_browser(self, form: Form, client_id: str) -> FoundPushed:
        """The request that `request_uri` of the form names, which this client has pushed; raises PageProblem."""
        uris = form["request_uri"]
        handle = uris[0].removeprefix(URN)
        if len(uris) != 1 or not _HANDLE.fullmatch(handle):
            raise PageProblem(
                "The request_uri is repeated or is not one of this issuer. Go back to the application, and try again.",
                reason="request_uri_malformed",
                client_id=client_id,
            )
        found = await self.read(handle, client_id)
        if found.pushed.client_id != client_id:
            raise PageProblem(
                "The request_uri was pushed by another application than the one that client_id names. "
                "Go back to the application, and try again.",
                reason="request_uri_of_another_client",
                client_id=client_id,
            )
        if self._clock() >= found.pushed.end_time:
            raise _expired(client_id)
        return found

    async def read(self, handle: str, client_id: str = "") -> FoundPushed:
        """Raises PageProblem if the request is not stored any more, or is used up. `client_id` is for the audit log."""
        stored = (await self._store.read(_key(handle))).values[0]
        pushed = decode_stored(Pushed, stored)
        if stored is None or pushed is None:
            raise _expired(client_id)
        if pushed.used:
            raise PageProblem(
                "This login is finished: its request was answered already, perhaps in another tab. "
                "To log in once more, go back to the application.",
                reason="request_uri_used",
                client_id=client_id or pushed.client_id,
            )
        return FoundPushed(handle, stored.version, pushed)

    async def keep(self, found: FoundPushed) -> None:
        """Keep the request as long as a login may last. If this write loses, another one has kept the request, or has
        used it up: the next step sees which.
        """
        if not found.pushed.brought:
            value = encode_stored(replace(found.pushed, brought=True))
            await self._store.write(Save(_key(found.handle), value, KEPT_SECONDS, found.version))

    async def forget(self, handle: str) -> None:
        """Delete a request, whether a browser has come with it or not."""
        await self._store.write(Forget(_key(handle)))

    async def use_up(self, found: FoundPushed, write: Callable[[Save], Awaitable[T]]) -> T:
        """Return the result of `write`, which makes the change together with its own, or raises LostWrite.

        Raises PageProblem if the request is used up already.
        """
        known = [found]

        async def once() -> T:
            current = known.pop() if known else await self.read(found.handle)
            return await write(_used(current))

        return await retry_lost(once)

    async def end(self, found: FoundPushed) -> None:
        """Use the request up, for an error that is sent to the client; raises PageProblem if it is used up already."""
        await self.use_up(found, lambda used: save_or_lose(self._store, used))


def new_handle() -> str:
    """256 random bits."""
    return base64url.encode(secrets.token_bytes(_SECRET_BYTES))


def names_pushed(form: Form) -> bool:
    """Whether an authorization request names a pushed one. Other values of `request_uri` (OpenID Connect Core §6.2) are
    not supported.
    """
    return any(uri.startswith(URN) for uri in form.get("request_uri", ()))


def _used(found: FoundPushed) -> Save:
    """Without the parameters, and stored as long as other tabs may ask."""
    used = replace(found.pushed, parameters={}, used=True)
    return Save(_key(found.handle), encode_stored(used), ATTEMPT_SECONDS, found.version)


def _expired(client_id: str) -> PageProblem:
    return PageProblem(
        f"The request of the application is unknown, or has expired: it is valid for {PUSHED_SECONDS} seconds. "
        "Go back to the application, and log in from there.",
        reason="request_uri_expired",
        client_id=client_id,
    )


def _key(handle: str) -> str:
    return f"pushed:{handle}"
