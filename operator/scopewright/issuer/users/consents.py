"""Consents of users: which client may do what for whom."""

import hashlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Final
from urllib.parse import urlsplit

from scopewright import base64url
from scopewright.core.failures import Unavailable
from scopewright.core.records.client import RequestedAccess
from scopewright.core.revocation_keys import uid_hash
from scopewright.issuer.state.entries import Client, ResourceServerEntry
from scopewright.issuer.users.compare_and_set import LostWrite, retry_lost, save_or_lose
from scopewright.issuer.users.stored import DelegatedAccess
from scopewright.issuer.users.user_record import (
    Consent,
    UserRecord,
    VersionedUser,
    forget_families,
    read_user,
    with_consents,
    without_client,
)
from scopewright.stores.sessions.sealed import SealedSessions

USED_INTERVAL_SECONDS: Final = 86400
"""The last use of a consent is written when it is older than this."""


class Consents:
    """A consent is by user, client, API and scopes. It ends 180 days after its last use, and when the client or the API
    is deleted, or the origins of the client's redirect URIs or its authentication method change.

    `server_of` returns the API of an access, as `Registry.server_of`. `on_withdrawn` ends the tokens of a user at a
    client, given by `sub` and the hash of the client's UID.
    """

    def __init__(
        self,
        store: SealedSessions,
        server_of: Callable[[RequestedAccess], ResourceServerEntry | None],
        on_withdrawn: Callable[[str, str], None] = lambda subject, client: None,
    ) -> None:
        self._store = store
        self._server_of = server_of
        self._on_withdrawn = on_withdrawn

    async def covers(self, client: Client, delegated: DelegatedAccess) -> bool:
        """Whether the user has consented to all of it, for this client."""
        stored = await read_user(self._store, delegated.subject)
        used = self.covering(stored, client, delegated)
        if any(stored.now >= consent.used_time + USED_INTERVAL_SECONDS for consent in used):
            renewed = (replace(consent, used_time=int(stored.now)) for consent in used)
            with suppress(Unavailable, LostWrite):  # the next use is as good
                await save_or_lose(self._store, stored.save(with_consents(stored.record, renewed)))
        return bool(used)

    def covering(self, user: VersionedUser, client: Client, delegated: DelegatedAccess) -> tuple[Consent, ...]:
        """Return the consents in the record of the user that cover all of it together; none if they do not."""
        known = _valid_consents(user.record, client)
        used: list[Consent] = []
        for wanted in self._wanted(client, delegated, user.now):
            consent = known.get(wanted.api_uid_hash) if wanted is not None else None
            if wanted is None or consent is None or not set(wanted.scopes) <= set(consent.scopes):
                return ()
            used.append(consent)
        return tuple(used)

    async def known(self, client: Client, delegated: DelegatedAccess) -> frozenset[tuple[str, str]]:
        """Return what the user has consented to already, as pairs of an API and a scope. The API is
        `<namespace>/<name>`, and empty for scopes of OpenID Connect.
        """
        stored = await read_user(self._store, delegated.subject)
        known = _valid_consents(stored.record, client)
        found: set[tuple[str, str]] = set()
        for wanted in self._wanted(client, delegated, stored.now):
            if wanted is not None and (earlier := known.get(wanted.api_uid_hash)):
                found.update((wanted.resource_server, scope) for scope in wanted.scopes if scope in earlier.scopes)
        return frozenset(found)

    async def remember(self, client: Client, delegated: DelegatedAccess) -> None:
        """Store the consent, in addition to earlier ones."""

        async def attempt() -> None:
            stored = await read_user(self._store, delegated.subject)
            known = _valid_consents(stored.record, client)
            given: list[Consent] = []
            for wanted in self._wanted(client, delegated, stored.now):
                if wanted is not None:
                    earlier = known.get(wanted.api_uid_hash)
                    scopes = {*wanted.scopes, *(earlier.scopes if earlier else ())}
                    given.append(replace(wanted, scopes=tuple(sorted(scopes))))
            await save_or_lose(self._store, stored.save(with_consents(stored.record, given)))

        await retry_lost(attempt)

    async def of_user(self, subject: str) -> tuple[Consent, ...]:
        """Return the consents of the user, the least recently used first."""
        return (await read_user(self._store, subject)).record.consents

    async def refreshed_by(self, subject: str) -> frozenset[str]:
        """Return the hashes of the UIDs of the clients that have refresh tokens of the user, consented or not."""
        return frozenset(family.client_uid_hash for family in (await read_user(self._store, subject)).record.families)

    async def withdraw(self, subject: str, client_uid_hash: str) -> None:
        """End the user's consents for a client, its refresh tokens and, after them, its access tokens."""

        async def attempt() -> None:
            stored = await read_user(self._store, subject)
            record, families = without_client(stored.record, client_uid_hash)
            if record != stored.record:
                await save_or_lose(self._store, stored.save(record), *forget_families(families, record))

        await retry_lost(attempt)
        # After the write: until then, a token may have been signed.
        self._on_withdrawn(subject, client_uid_hash)

    def _wanted(self, client: Client, delegated: DelegatedAccess, now: float) -> Iterator[Consent | None]:
        """The consents that it takes, None for an API that does not exist."""
        common = Consent(client.client_id, client.uid_hash, _application(client), delegated.scopes, int(now))
        if delegated.scopes:
            yield common
        for access in delegated.access:
            if (server := self._server_of(access)) is None:
                yield None
                continue
            api = uid_hash(server.record.uid)
            yield replace(common, scopes=access.scopes, resource_server=server.key, api_uid_hash=api)


def _valid_consents(record: UserRecord, client: Client) -> dict[str, Consent]:
    """By the hash of the API's UID; empty for scopes of OpenID Connect."""
    application = _application(client)
    return {
        consent.api_uid_hash: consent
        for consent in record.consents
        if consent.client_uid_hash == client.uid_hash and consent.application == application
    }


def _application(client: Client) -> str:
    """The digest of the origins that the client's users return to, as the consent page shows them, and of its
    authentication method: another one is another application.
    """
    uris = client.login.redirect_uris if client.login else ()
    origins = sorted({f"{parts.scheme}://{parts.netloc.lower()}" for parts in map(urlsplit, uris)})
    return base64url.encode(hashlib.sha256("\n".join([client.declared_method, *origins]).encode()).digest())
