"""Creates what an installation needs once: its issuer record, its own keys, a first SigningKey.

Checked at each resync, and as soon as one of them is deleted.
"""

import asyncio
import logging
import secrets
from collections.abc import Callable
from datetime import datetime

from scopewright.core.client.seal import KEY_BYTES
from scopewright.core.config import Config
from scopewright.core.failures import Conflict, NotLeading, Rejected, Unavailable, changed_nothing
from scopewright.core.installation import (
    DEFAULT_SIGNING_KEY,
    asks_for_another_key,
    default_signing_key,
    issuer_ref,
    nonce_key_ref,
    plan_another_seal_key,
    plan_issuer,
    plan_nonce_key,
    plan_revocations,
    plan_seal_key,
    plan_usage,
    revocations_ref,
    seal_key,
    seal_key_ref,
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
    """Keeps the seal key in memory, so that one that is deleted comes back as it was, until `forget`."""

    def __init__(
        self, store: Store, config: Config, clock: Callable[[], datetime], may_write: Callable[[], bool] = lambda: True
    ) -> None:
        self._store = store
        self._clock = clock
        self._may_write = may_write
        self._config = config
        self._seal_key = b""
        self._refs = frozenset(
            of(config) for of in (issuer_ref, usage_ref, nonce_key_ref, revocations_ref, seal_key_ref)
        )
        self.lacking = asyncio.Event()
        """Whether something is to be made: set by `saw`, taken back when `ensure` begins."""
        self.failure: Rejected | Unavailable | None = None
        """Why something could not be written that clients can do without for a while; None where all is there."""

    def saw(self, ref: Ref, existing: Existing | None) -> None:
        """One of ours as it is now, or (None) no more."""
        if ref in self._refs and (existing is None or self._is_altered(existing)):
            self.lacking.set()

    def _is_altered(self, existing: Existing) -> bool:
        if existing.ref == seal_key_ref(self._config):
            return asks_for_another_key(existing)
        return existing.ref == issuer_ref(self._config) and plan_issuer(self._config, existing) is not None

    def forget(self) -> None:
        """What was known before we led again: others may have changed the seal key meanwhile, and for a reason."""
        self._seal_key = b""

    async def ensure(self, *, may_rotate: bool = True) -> bytes:
        """Make what is missing; the seal key, another one if that is asked for and may be.

        Only a seal key that is missing and cannot be written raises: nothing can be sealed then. What else cannot be
        written is in `failure`, and is to be tried again.
        """
        self.lacking.clear()
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
        return await self._seal(may_rotate=may_rotate)

    async def _try(self, desired: Desired, *, must_be_sure: bool = False) -> bool:
        """Whether it was written. What may have been, although its answer was lost, raises if one `must_be_sure`."""
        try:
            await self._write(desired)
        except NotLeading:
            raise
        except (Rejected, Unavailable) as error:
            if must_be_sure and (isinstance(error, Conflict) or not changed_nothing(error)):
                raise
            log.warning("%s cannot be written, and is tried again: %s", desired.ref, error)
            self.failure = self.failure or error
            return False
        return True

    async def _write(self, desired: Desired) -> None:
        if not self._may_write():
            raise NotLeading
        await self._store.write(desired)

    async def _seal(self, *, may_rotate: bool) -> bytes:
        found = await self._store.read(seal_key_ref(self._config))
        if found:
            self._seal_key = seal_key(*found)
            if may_rotate and asks_for_another_key(found[0]):
                key = secrets.token_bytes(KEY_BYTES)
                if await self._try(plan_another_seal_key(self._config, found[0], key), must_be_sure=True):
                    self._seal_key = key
                    log.warning("%s has another key, as asked: every credential Secret is sealed anew", found[0].ref)
        else:
            key = self._seal_key or secrets.token_bytes(KEY_BYTES)
            await self._write(plan_seal_key(self._config, key))
            self._seal_key = key
        return self._seal_key


async def ensure_signing_key(api: Api, config: Config) -> None:
    """SigningKey/default, unless there is a SigningKey already, or was one that left keys."""
    path = declared_path("SigningKey", config.namespace)
    try:
        listed = await api.get(path, limit="1")
        if listed.get("items") or await _has_keys(api, config.namespace):
            return
        await api.request("POST", path, body=default_signing_key(config))
        log.info("SigningKey %s is made, because there was none", DEFAULT_SIGNING_KEY)
    except (Conflict, NotFound) as error:
        log.info("SigningKey %s was not made: %s", DEFAULT_SIGNING_KEY, error)


async def _has_keys(api: Api, namespace: str) -> bool:
    listed = await api.get(collection("Secret", namespace), fieldSelector=f"type={SIGNING_KEY_TYPE}", limit="1")
    return bool(listed.get("items"))
