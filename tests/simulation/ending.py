"""What must be so at rest, and how a story ends: everything heals, comes to rest, and a new operator writes nothing."""

import asyncio
from collections.abc import Iterator
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.ledger import NAMESPACE, digest_in, paused, secret_name
from tests.simulation.people import People
from tests.simulation.presenting import Pod
from tests.simulation.server import DECLARED, USER, At, Raw, Where
from tests.simulation.settings import HOUR, RESYNC
from tests.simulation.simulation import Simulation

Conditions = dict[str, Any]


def conditions(raw: Raw) -> dict[str, Conditions]:
    return {c["type"]: c for c in raw.get("status", {}).get("conditions", ())}


def whole(simulation: Simulation) -> None:
    """What says that it is Ready has all that it needs, whoever deleted what."""
    server = simulation.server
    for plural in DECLARED:
        for at, raw in server.all(plural).items():
            if paused(raw) or conditions(raw).get("Ready", {}).get("status") != "True":
                continue
            if plural == "oauthclients":
                _whole_client(simulation, at, raw)
            elif (
                plural == "resourceservers" and simulation.ledger.server_record(at).get("uid") != raw["metadata"]["uid"]
            ):
                simulation.fail(4, f"ResourceServer {at} is Ready, and has no record")
            elif plural == "signingkeys" and not simulation.ledger.kids(_jwks(simulation, raw)):
                simulation.fail(4, f"SigningKey {at} is Ready, and nothing is published")
    for plural, at, record in _ownerless(simulation):
        if "orphanedTime" not in record:
            simulation.fail(11, f"the record of {plural} {at} has no owner, and the issuer obeys it")


def _ownerless(simulation: Simulation) -> Iterator[tuple[str, At, dict[str, Any]]]:
    """Records of what is not there, but for those whose owner may have gone with its CRD."""
    for plural, objects, prefix in (
        ("oauthclients", "secrets", "client"),
        ("resourceservers", "configmaps", "resourceserver"),
    ):
        for namespace, name in list(simulation.server.all(objects)):
            parts = name.split(".")
            if namespace != NAMESPACE or parts[0] != prefix or len(parts) != 3:
                continue
            at = parts[1], parts[2]
            if simulation.server.get(plural, *at) is None and not simulation.ledger.stays(plural, at):
                client = plural == "oauthclients"
                yield plural, at, simulation.ledger.client_record(at) if client else simulation.ledger.server_record(at)


def _whole_client(simulation: Simulation, at: At, raw: Raw) -> None:
    secret = simulation.server.get("secrets", at[0], secret_name(raw))
    if secret is None:
        simulation.fail(4, f"OAuthClient {at} is Ready, and has no Secret")
    elif digest_in(secret) not in simulation.ledger.accepted(at):
        simulation.fail(1, f"OAuthClient {at} is Ready, and its Secret is not accepted")


def _jwks(simulation: Simulation, key: Raw) -> Raw | None:
    name = key["spec"].get("jwks", {}).get("configMapName", "scopewright-jwks")
    return simulation.server.get("configmaps", NAMESPACE, name)


class Ending:
    def __init__(self, simulation: Simulation, users: People, faults: Faults) -> None:
        self.simulation, self.users, self.faults = simulation, users, faults

    async def rest(self) -> None:
        """Everything heals, and two comparisons later nothing is written any more."""
        simulation = self.simulation
        simulation.tell("*** the end: everything heals")
        simulation.quiet.end()
        await self.faults.heal()
        await simulation.a_while(30.0)
        self._calm()
        await simulation.a_while(30.0)
        simulation.quiet.begin()
        for pause in (2 * HOUR, RESYNC, RESYNC):
            await asyncio.sleep(RESYNC)
            self._calm()
            await asyncio.sleep(pause)
        await asyncio.sleep(RESYNC)
        simulation.allowed.settle()
        whole(simulation)
        await simulation.pods.ask()
        # Once in a while a key takes over just then, and the clock of the next process may be behind that of the first.
        for _ in range(3):
            if not await self._second_run():
                break
        else:
            simulation.fail(4, "a new operator writes where the old one was at rest")
        await self._all_is_well()

    def _calm(self) -> None:
        """Nobody rotates, disables or stands in the way any more; orphans may go."""
        server = self.simulation.server
        for at, raw in list(server.all("oauthclients").items()):
            spec = {**raw["spec"], "disabled": False, "rotation": {**raw["spec"].get("rotation", {}), "suspend": True}}
            if conditions(raw).get("Ready", {}).get("reason") == "SecretConflict" and server.get(
                "secrets", at[0], secret_name(raw)
            ):
                server.remove(USER, Where("secrets", at[0], secret_name(raw), ""))
            if spec.get("credentials", {}).get("secretName", "").endswith("foreign"):
                spec.pop("credentials")
            if spec != raw["spec"] or paused(raw):
                self.users.apply("oauthclients", at, spec, paused="false")
        issuer = server.get("configmaps", NAMESPACE, "scopewright-issuer")
        leader = self.simulation.leader
        held = leader.operator._resync.orphans_held if leader and leader.operator else {}
        if issuer and held:
            stated = ",".join(f"{namespace}={count}" for namespace, count in held.items())
            annotations = {"scopewright.dev/allow-orphans": stated}
            meta = {**issuer["metadata"], "annotations": annotations}
            server.put("configmaps", NAMESPACE, "scopewright-issuer", {**issuer, "metadata": meta})

    async def _second_run(self) -> int:
        """A new process, which knows only what the store holds; how often it writes."""
        simulation = self.simulation
        simulation.quiet.end()
        for operator in simulation.operators:
            operator.die()
        await asyncio.sleep(15.0)
        before = simulation.writes
        simulation.operators[0].start()
        await asyncio.sleep(30.0)
        if simulation.leader is None or not simulation.leader.idle:
            simulation.fail(4, "nobody leads, or nobody rests, half a minute after a start")
        return simulation.writes - before

    async def _all_is_well(self) -> None:
        """Every client is Ready, its Secret accepted by every issuer; every record has its owner."""
        simulation, server = self.simulation, self.simulation.server
        for at, client in server.all("oauthclients").items():
            ready = conditions(client).get("Ready", {})
            raw = server.get("secrets", at[0], secret_name(client))
            if ready.get("status") != "True":
                what = f"{ready.get('reason')}: {ready.get('message')}"
                simulation.fail(4, f"OAuthClient {at} is not Ready at the end: {what}")
            if raw is None or digest_in(raw) not in simulation.ledger.accepted(at):
                simulation.fail(1, f"the Secret of OAuthClient {at} is not accepted at the end")
                continue
            simulation.pods._mount((at[0], secret_name(client)))
            await self._everywhere(simulation.pods.pods[at[0], secret_name(client)])
        for plural, at, _ in _ownerless(simulation):
            simulation.fail(4, f"the record of {plural} {at} has no owner, and is still there at the end")

    async def _everywhere(self, pod: Pod) -> None:
        for issuer in self.simulation.issuers:
            status = await self.simulation.pods.request(pod, issuer)
            if status not in (200, 400):
                self.simulation.fail(8, f"{issuer.name} answers {status} to the Secret of {pod.client} at the end")
