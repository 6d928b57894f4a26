"""Claims an installation's name before anything is written, and finds out who has it where another has.

A claim is made in two steps: `Claimed`, a look at the others, `Held`, another look. The last to look sees both, so
that of two that start at one instant just one goes on. What another holds is taken over only once its claim is deleted:
by hand, with its namespace, or with the ServiceAccount of its operator, which owns it. Silence proves nothing.
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
"""Seconds that a claim must have been gone before another takes its place, or four more than a Lease lasts: a leader
whose Lease was deleted by mistake makes it again at its next renewal, and the token of a ServiceAccount that is gone
may be accepted for ten seconds."""

Raw = Mapping[str, Any]
Write = Callable[[Raw | None, Mapping[str, str], bool], Awaitable[dict[str, Any]]]
"""Creates the Lease (None) or replaces it, with these annotations; held by this process, or (False) unheld."""

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
        self._free_since: float | None = None
        """When the last rival was found to be gone; None before there was one."""
        self.rival: Claim | None = None
        self.known: tuple[Claim, ...] = ()
        """All that there are, as of the last look."""

    @property
    def collision(self) -> str:
        """What is wrong, and what to do about it; nothing where no other installation has this name."""
        if self.rival is None:
            return ""
        name, namespace = self.rival.name, self.rival.namespace
        return (
            f"the installation in namespace {namespace} serves the name {name!r} already: this one changes nothing. "
            "Give it another name (config.name), or uninstall the other. If that one is gone for good and has left its "
            f"claim behind: kubectl -n {namespace} delete lease {LEASE_NAME}"
        )

    async def look(self) -> None:
        """Find all claims. Leases first: an installation creates its SigningKey before it claims its name."""
        leases = await self._all(LEASES, fieldSelector=f"metadata.name={LEASE_NAME}")
        self.known = claims_of(leases, await self._all(declared_path("SigningKey")))

    async def look_while_leading(self, lease: Raw | None) -> None:
        """Notice an older claim of our name; as long as everybody keeps to the protocol there is none. Without the CRD
        of SigningKeys nothing can be seen, and we go on as before.
        """
        try:
            await self.look()
        except NotServed as error:
            log.debug("the claims of other installations are not known: %s", error)
            return
        mine = claim_of(self._config, lease, Stage.HELD)
        self._meet(older_holders(mine, self.known))

    async def secure(self, lease: Raw | None, write: Write) -> bool:
        """Whether the name is ours; then the Lease, which nobody else of this installation holds, is written as such.
        Where another has the name nothing is written, or what was written is withdrawn. A name that is ours stays ours
        while the CRD of SigningKeys is missing.
        """
        try:
            await self.look()
        except NotServed:
            if not is_held(self._config, lease, ()):
                raise
        mine = claim_of(self._config, lease, Stage.HELD)
        if is_held(self._config, lease, self.known):
            if self._meet(older_holders(mine, self.known)) or self._too_early():
                return False
            await write(lease, annotations(self._config, Stage.HELD), True)
            return True
        if self._meet(conflicting_claims(mine, self.known)) or self._too_early():
            return False
        return await self._claim(lease, write)

    async def _claim(self, lease: Raw | None, write: Write) -> bool:
        await ensure_signing_key(self._api, self._config)
        for stage in (Stage.CLAIMED, Stage.HELD):
            lease = await write(lease, annotations(self._config, stage), True)
            await self.look()
            mine = claim_of(self._config, lease, stage)
            others = conflicting_claims(mine, self.known)
            held_before = stage is Stage.CLAIMED
            if self._meet(r for r in others if r.order < mine.order or (held_before and r.stage is Stage.HELD)):
                await write(lease, annotations(self._config, Stage.WITHDRAWN), False)
                return False
        return True

    async def owner(self) -> list[dict[str, Any]]:
        """The owner reference of our claim: our ServiceAccount, if we are one of the installation's namespace."""
        try:
            review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
            user = (await self._api.request("POST", SELF_REVIEW, body=review))["status"]["userInfo"]
        except (Conflict, NotFound, Rejected, Unavailable) as error:
            log.info("the claim has no owner, because it is not known who we are: %s", error)
            return []
        account = str(user.get("username")).removeprefix(f"system:serviceaccount:{self._config.namespace}:")
        if account == user.get("username") or not user.get("uid"):
            return []
        return [{"apiVersion": "v1", "kind": "ServiceAccount", "name": account, "uid": user["uid"]}]

    def _meet(self, others: Iterable[Claim]) -> bool:
        """Whether there is any. What begins or ends is reported once."""
        before, self.rival = self.rival, next(iter(others), None)
        if self.rival and (before is None or before.namespace != self.rival.namespace):
            log.error("%s", self.collision)
            self._report(Event("NameCollision", self.collision, warning=True))
        elif before and self.rival is None:
            self._free_since = self._monotonic()
            message = (
                f"the installation in namespace {before.namespace} has no claim to the name {before.name!r} any more"
            )
            log.warning("%s: this one takes over in %.0f s", message, self._takeover)
            self._report(Event("NameCollisionEnded", message))
        return self.rival is not None

    def _too_early(self) -> bool:
        return self._free_since is not None and self._monotonic() < self._free_since + self._takeover

    async def _all(self, path: str, **query: str) -> list[Raw]:
        return [raw async for page, _ in pages(self._api, path, **query) for raw in page]
