"""Reads the records of the operator once, to open sessions, to name applications and to end tokens."""

import asyncio
from contextlib import aclosing
from dataclasses import dataclass
from typing import Final

from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Ref
from scopewright.core.records.names import (
    CLIENT_TYPE,
    IDENTITY_PROVIDER_TYPE,
    ISSUER_NAME,
    SESSION_KEY_NAME,
    SESSION_KEY_TYPE,
)
from scopewright.issuer.revocations import Revocations
from scopewright.issuer.state.registry import Registry
from scopewright.rate_budget import Clock
from scopewright.stores import Change, ListCompleted, Selection, Store

READ_TIMEOUT_SECONDS: Final = 30.0

_NEEDED_TYPES: Final = (CLIENT_TYPE, IDENTITY_PROVIDER_TYPE, SESSION_KEY_TYPE)
"""Types of the Secrets that are read. The private keys of the issuer have another type."""


@dataclass(frozen=True, slots=True)
class Records:
    """The registry has clients, identity providers, the issuer and the session keys. `revocations` writes."""

    registry: Registry
    revocations: Revocations
    can_revoke: bool
    """Whether revocations may be written. False for `dev`: only `dev` writes its STATE directory."""

    @property
    def issuer_url(self) -> str:
        return self.registry.require_issuer().issuer


async def read_records(store: Store, namespace: str, clock: Clock, *, is_of_dev: bool = False) -> Records:
    """Raises `Rejected` if the namespace has no issuer or no session keys, and `Unavailable` if the store is away."""
    registry = Registry(namespace, allow_http=is_of_dev)
    revocations = Revocations(store, namespace, clock, lambda: registry.issuer)
    try:
        async with asyncio.timeout(READ_TIMEOUT_SECONDS):
            for ref, apply in (
                (Ref("ConfigMap", namespace, ISSUER_NAME), lambda change: registry.apply(change, clock())),
                (revocations.ref, revocations.apply),
            ):
                if (found := await store.read(ref)) is not None:
                    apply(Change(*found))
            if registry.issuer is None:
                raise Rejected(
                    "NoIssuer",
                    f"namespace {namespace} has no issuer record: set --namespace to the namespace of the issuer",
                )
            await _list_secrets(store, registry, clock)
    except TimeoutError:
        message = f"the records in namespace {namespace} were not read in {READ_TIMEOUT_SECONDS:.0f} s"
        raise Unavailable(message, refused=True) from None
    if registry.session_keys is None:
        raise Rejected(
            "NoSessionKeys",
            f"there is no Secret {SESSION_KEY_NAME} in namespace {namespace}: no user can have logged in yet",
        )
    return Records(registry, revocations, not is_of_dev)


async def _list_secrets(store: Store, registry: Registry, clock: Clock) -> None:
    selection = Selection("Secret", registry.namespace, {MANAGED_BY: MANAGER})
    async with aclosing(store.follow(selection)) as events:  # type: ignore[type-var]
        async for event in events:
            if isinstance(event, ListCompleted):
                return
            if event.existing.type in _NEEDED_TYPES:
                registry.apply(event, clock())
