"""What an installation needs once: its issuer record, its seal key, a first SigningKey. Looked after at each resync."""

import logging
import secrets

from scopewright.core.config import Config
from scopewright.core.failures import Conflict
from scopewright.core.installation import (
    DEFAULT_SIGNING_KEY,
    default_signing_key,
    issuer_ref,
    plan_issuer,
    plan_seal_key,
    seal_key,
    seal_key_ref,
)
from scopewright.core.records import SIGNING_KEY_TYPE
from scopewright.core.seal import KEY_BYTES
from scopewright.stores.kube_api import NotFound
from scopewright.stores.kube_objects import collection
from scopewright.stores.kubernetes import KubernetesStore, declared_path

log = logging.getLogger(__name__)


class Installing:
    """Keeps the seal key in memory, so that one that is deleted comes back as it was."""

    def __init__(self, store: KubernetesStore, config: Config) -> None:
        self._store = store
        self._config = config
        self._seal_key = b""

    async def ensure(self) -> bytes:
        """Make what is missing; the seal key."""
        await self._issuer()
        key = await self._seal()
        await self._signing_key()
        return key

    async def _issuer(self) -> None:
        found = await self._store.read(issuer_ref(self._config))
        if desired := plan_issuer(self._config, found[0] if found else None):
            await self._store.write(desired)

    async def _seal(self) -> bytes:
        found = await self._store.read(seal_key_ref(self._config))
        if found:
            self._seal_key = seal_key(found[0], found[1])
        else:
            key = self._seal_key or secrets.token_bytes(KEY_BYTES)
            await self._store.write(plan_seal_key(self._config, key))
            self._seal_key = key
        return self._seal_key

    async def _signing_key(self) -> None:
        """SigningKey/default, unless there is a SigningKey already, or was one that left keys."""
        api, path = self._store.api, declared_path("SigningKey", self._config.namespace)
        listed = await api.get(path, limit="1")
        if listed.get("items") or await self._has_keys():
            return
        try:
            await api.request("POST", path, body=default_signing_key(self._config))
            log.info("SigningKey %s is made, because there was none", DEFAULT_SIGNING_KEY)
        except (Conflict, NotFound) as error:
            log.info("SigningKey %s was not made: %s", DEFAULT_SIGNING_KEY, error)

    async def _has_keys(self) -> bool:
        path = collection("Secret", self._config.namespace)
        listed = await self._store.api.get(path, fieldSelector=f"type={SIGNING_KEY_TYPE}", limit="1")
        return bool(listed.get("items"))
