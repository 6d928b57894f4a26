"""Claims the installation's name before anything is written, and finds the installation that has it already.

A claim has two stages: `Claimed`, a list of all claims, `Held`, another list. The last to list sees both, so that of
two that start at one instant exactly one continues. The name of another installation is taken over only once its claim
is deleted: by hand, with its namespace, or with the ServiceAccount of its operator, which owns it. A Lease that is not
renewed proves nothing.
"""

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, Final

from scopewright.controller.bootstrap import ensure_signing_key
from scopewright.core.claims import (
    LEASE_NAME,
    Claim,
    Stage,
    annotations,
    claim_of,
    claims_of,
    conflicting_claims,
    is_held,
    older_holders,
)
from scopewright.core.config import Config
from scopewright.core.failures import Conflict, Rejected, Unavailable
from scopewright.core.plan import Event
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.pages import NotServed, pages
from scopewright.stores.kubernetes.store import declared_path

LEASES: Final = "/apis/coordination.k8s.io/v1/leases"
SELF_REVIEW: Final = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
TAKEOVER_SECONDS: Final = 12.0
"""Seconds from the deletion of a claim until another takes its place, or four more than a Lease lasts: a leader whose
Lease was deleted by mistake creates it again at its next renewal, and the token of a deleted ServiceAccount may be
accepted for ten seconds."""

Raw = Mapping[str, Any]
Write = Callable[[Raw | None, Mapping[str, str], bool], Awaitable[dict[str, Any]]]
"""Creates the Lease (None) or replaces it, with these annotations; True: held by this process, False: unheld."""

log = logging.getLogger(__name__)


class Claims:
    """`rival` is another installation that has this name, or None; `report` is called when that begins and ends."""

    def __init__(
        self,
        api: Api,
        config: Config,
        report: Callable[[Event], None],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._api = api
        self._config = config
        self._report = report
        self._monotonic = monotonic
        self._takeover = max(TAKEOVER_SECONDS, config.lease.duration.total_seconds() + 4.0)
        self._free_time = float("-inf")
        """When this installation may take over the name of the last rival, by `monotonic`."""
        self.rival: Claim | None = None
        self.known: tuple[Claim, ...] = ()
        """All claims, as last listed."""

    @property
    def collision(self) -> str:
        """The problem and its remedies; "" if no other installation has this name."""
        if self.rival is None:
            return ""
        name, namespace = self.rival.name, self.rival.namespace
        return (
            f"the installation in namespace {namespace} serves the name {name!r} already: this one changes nothing. "
            "Give this one another name (config.name), or uninstall the other. If the other was removed and its claim "
            f"remained: kubectl -n {namespace} delete lease {LEASE_NAME}"
        )

    async def refresh(self) -> None:
        """List all claims. Leases first: an installation creates its SigningKey before it claims its name."""
        leases = await self._all(LEASES, fieldSelector=f"metadata.name={LEASE_NAME}")
        self.known = claims_of(leases, await self._all(declared_path("SigningKey")))

    async def refresh_while_leading(self, lease: Raw | None) -> None:
        """Find an older claim of this name; there is none if all installations keep to the protocol. Without the CRD of
        SigningKeys nothing can be found, and this replica continues to lead.
        """
        try:
            await self.refresh()
        except NotServed as error:
            log.debug("the claims of other installations are not known: %s", error)
            return
        own = claim_of(self._config, lease, Stage.HELD)
        self._set_rival(older_holders(own, self.known))

    async def secure(self, lease: Raw | None, write: Write) -> bool:
        """Return whether this installation has the name. If so, the Lease, which no other replica holds, is written as
        held by this one. If another has the name, nothing is written, or what was written is withdrawn. A name that
        this installation has remains its own while the CRD of SigningKeys is missing.
        """
        try:
            await self.refresh()
        except NotServed:
            if not is_held(self._config, lease, ()):
                raise
        own, held = claim_of(self._config, lease, Stage.HELD), is_held(self._config, lease, self.known)
        others = older_holders(own, self.known) if held else conflicting_claims(own, self.known)
        if self._set_rival(others) or self._monotonic() < self._free_time:
            return False
        if not held:
            return await self._claim(lease, write)
        await write(lease, annotations(self._config, Stage.HELD), True)
        return True

    async def _claim(self, lease: Raw | None, write: Write) -> bool:
        await ensure_signing_key(self._api, self._config)
        for stage in (Stage.CLAIMED, Stage.HELD):
            lease = await write(lease, annotations(self._config, stage), True)
            await self.refresh()
            own = claim_of(self._config, lease, stage)
            others = conflicting_claims(own, self.known)
            held_before = stage is Stage.CLAIMED
            if self._set_rival(c for c in others if c.order < own.order or (held_before and c.stage is Stage.HELD)):
                await write(lease, annotations(self._config, Stage.WITHDRAWN), False)
                return False
        return True

    async def owner(self) -> list[dict[str, Any]]:
        """The owner reference of the claim: the operator's ServiceAccount, if it is in the installation's namespace."""
        try:
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            user = (await self._api.request("POST", SELF_REVIEW, body=review))["status"]["userInfo"]
        except (Conflict, NotFound, Rejected, Unavailable) as error:
            log.info("the claim has no owner, because the operator's own identity is not known: %s", error)
            return []
        account = str(user.get("username")).removeprefix(f"system:serviceaccount:{self._config.namespace}:")
        if account == user.get("username") or not user.get("uid"):
            return []
        return [{"apiVersion": "v1", "kind": "ServiceAccount", "name": account, "uid": user["uid"]}]

    def _set_rival(self, others: Iterable[Claim]) -> bool:
        """Set `rival` to the first of them, if any, and report a change. Return whether there is one."""
        before, self.rival = self.rival, next(iter(others), None)
        if self.rival and (before is None or before.namespace != self.rival.namespace):
            log.error("%s", self.collision)
            self._report(Event("NameCollision", self.collision, warning=True))
        elif before and self.rival is None:
            self._free_time = self._monotonic() + self._takeover
            message = f"the installation in namespace {before.namespace} no longer claims the name {before.name!r}"
            log.warning("%s: this one takes over in %.0f s", message, self._takeover)
            self._report(Event("NameCollisionEnded", message))
        return self.rival is not None

    async def _all(self, path: str, **query: str) -> list[Raw]:
        return [raw async for page, _ in pages(self._api, path, **query) for raw in page]
