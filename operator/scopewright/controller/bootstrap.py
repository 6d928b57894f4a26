"""Creates what an installation needs once: its issuer record, its own keys, a first SigningKey.

Checked at each resync, and as soon as one of them is deleted.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import datetime

from scopewright.api.login import ID_TOKENS
from scopewright.controller.cache import Cache
from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable, changed_nothing
from scopewright.core.installation import (
    DEFAULT_SIGNING_KEY,
    asks_for_another_key,
    default_signing_key,
    id_token_key_ref,
    id_token_signing_key,
    issuer_ref,
    needs_another_session_key,
    nonce_key_ref,
    plan_another_seal_key,
    plan_another_session_key,
    plan_issuer,
    plan_nonce_key,
    plan_revocations,
    plan_seal_key,
    plan_session_key,
    plan_usage,
    revocations_ref,
    seal_key,
    seal_key_ref,
    session_key_ref,
    usage_ref,
)
from scopewright.core.objects import Desired, Existing, Ref
from scopewright.core.records.names import SIGNING_KEY_TYPE
from scopewright.stores import Store
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.objects import collection
from scopewright.stores.kubernetes.store import declared_path

log = logging.getLogger(__name__)


class Bootstrap:
    """Keeps the seal key in memory until `forget`, so that a deleted one is created again with the same content."""

    def __init__(
        self, store: Store, config: Config, clock: Callable[[], datetime], may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._clock = clock
        self._may_write = may_write
        self._config = config
        self._seal_key = b""
        self._refs = frozenset(
            of(config) for of in (issuer_ref, usage_ref, nonce_key_ref, revocations_ref, seal_key_ref, session_key_ref)
        )
        self.incomplete = asyncio.Event()
        """Set by `check` if an object is missing or outdated, cleared when `ensure` begins."""
        self.failure: Rejected | Unavailable | None = None
        """Why an object could not be written that clients do not need at once; None if all exist."""

    def check(self, ref: Ref, existing: Existing | None) -> None:
        """Called for each managed object that was added, changed or deleted (None)."""
        if ref in self._refs and (existing is None or self._is_outdated(existing)):
            self.incomplete.set()

    def _is_outdated(self, existing: Existing) -> bool:
        if existing.ref in (seal_key_ref(self._config), session_key_ref(self._config)):
            return asks_for_another_key(existing)
        return existing.ref == issuer_ref(self._config) and plan_issuer(self._config, existing) is not None

    def forget(self) -> None:
        """Forget the seal key at the beginning of a term: another leader may have replaced it, for a reason."""
        self._seal_key = b""

    async def ensure(self, *, may_rotate: bool = True) -> bytes:
        """Create what is missing. Return the seal key: another one if an annotation asks for it and `may_rotate`. The
        session key also rotates by its age.

        Raises only if a missing seal key cannot be written: nothing can be sealed then. Other failures are in
        `failure`, for another attempt.
        """
        self.incomplete.clear()
        self.failure = None
        found = await self._store.read(issuer_ref(self._config))
        if desired := plan_issuer(self._config, found[0] if found else None):
            await self._try(desired)
        plans: tuple[tuple[Ref, Callable[[], Desired]], ...] = (
            (usage_ref(self._config), lambda: plan_usage(self._config, self._clock())),
            (nonce_key_ref(self._config), lambda: plan_nonce_key(self._config, secrets.token_bytes(KEY_BYTES))),
            (revocations_ref(self._config), lambda: plan_revocations(self._config)),
        )
        for ref, plan in plans:
            if await self._store.read(ref) is None:
                await self._try(plan())
        await self._session_key(may_rotate=may_rotate)
        return await self._seal(may_rotate=may_rotate)

    async def _try(self, desired: Desired, *, must_be_sure: bool = False) -> bool:
        """Whether it was written. With `must_be_sure`, raises if it may have been written without an answer."""
        try:
            await self._write(desired)
        except NotLeading:
            raise
        except (Rejected, Unavailable) as error:
            if must_be_sure and (isinstance(error, Conflict) or not changed_nothing(error)):
                raise
            log.warning("%s cannot be written, retrying: %s", desired.ref, error)
            self.failure = self.failure or error
            return False
        return True

    async def _write(self, desired: Desired) -> None:
        if not self._may_write():
            raise NotLeading
        await self._store.write(desired)

    async def _session_key(self, *, may_rotate: bool) -> None:
        found = await self._store.read(session_key_ref(self._config))
        key, now = secrets.token_bytes(KEY_BYTES), self._clock()
        if found is None:
            await self._try(plan_session_key(self._config, key, now))
            return
        try:
            due = needs_another_session_key(*found, now)
        except Rejected as error:
            log.warning("%s", error.message)
            self.failure = self.failure or error
            return
        if due and may_rotate and await self._try(plan_another_session_key(self._config, found[0], key, now)):
            log.info("%s has another key; sessions that the earlier one sealed stay valid", found[0].ref)

    async def _seal(self, *, may_rotate: bool) -> bytes:
        found = await self._store.read(seal_key_ref(self._config))
        if found:
            self._seal_key = seal_key(*found)
            if may_rotate and asks_for_another_key(found[0]):
                key = secrets.token_bytes(KEY_BYTES)
                if await self._try(plan_another_seal_key(self._config, found[0], key), must_be_sure=True):
                    self._seal_key = key
                    log.warning("%s has a new key, as requested: every credential Secret is sealed again", found[0].ref)
        else:
            key = self._seal_key or secrets.token_bytes(KEY_BYTES)
            await self._write(plan_seal_key(self._config, key))
            self._seal_key = key
        return self._seal_key


async def ensure_signing_key(api: Api, config: Config) -> None:
    """Create SigningKey/default, unless a SigningKey exists, or one did and its keys remain."""
    path = declared_path("SigningKey", config.namespace)
    try:
        keys = collection("Secret", config.namespace)
        for each, query in ((path, {}), (keys, {"fieldSelector": f"type={SIGNING_KEY_TYPE}"})):
            if (await api.get(each, limit="1", **query)).get("items"):
                return
        await api.request("POST", path, body=default_signing_key(config))
        log.info("created SigningKey %s, because none existed", DEFAULT_SIGNING_KEY)
    except (Conflict, NotFound) as error:
        log.info("SigningKey %s was not created: %s", DEFAULT_SIGNING_KEY, error)


def needs_id_token_key(cache: Cache, config: Config) -> bool:
    """Whether an IdentityProvider is in force, and no SigningKey for ID tokens is declared."""
    ref = id_token_key_ref(config)
    return bool(cache.managed.providers) and ref not in cache.declared[ref.kind]


async def ensure_id_token_key(api: Api, cache: Cache, config: Config) -> None:
    """Create SigningKey/id-tokens if it is needed. It is never deleted: a provider may come back."""
    if not needs_id_token_key(cache, config):
        return
    try:
        await api.request("POST", declared_path("SigningKey", config.namespace), body=id_token_signing_key(config))
        log.info("created SigningKey %s, because an IdentityProvider is in force", ID_TOKENS)
    except (Conflict, NotFound) as error:
        log.info("SigningKey %s was not created: %s", ID_TOKENS, error)
