"""Checks of the settled state, and the end of a seed: all faults end, and a new operator writes nothing."""

import asyncio
from collections.abc import Iterator
from typing import Any

from tests.simulation.faults import Faults
from tests.simulation.observations import (
    CREDENTIALS,
    NAMESPACE,
    credential_digest,
    is_public,
    owners,
    paused,
    secret_name,
)
from tests.simulation.pod_credentials import Pod
from tests.simulation.server import DECLARED, USER, NamespacedName, Raw, Where
from tests.simulation.settings import HOUR, RESYNC
from tests.simulation.simulation import Simulation
from tests.simulation.user_incidents import UserIncidents

Conditions = dict[str, Any]


def conditions(raw: Raw) -> dict[str, Conditions]:
    return {c["type"]: c for c in raw.get("status", {}).get("conditions", ())}


def check_ready_objects(simulation: Simulation) -> None:
    """Each object that is Ready has its Secret, record or JWKS; each record without an owner is refused."""
    server = simulation.server
    for plural in DECLARED:
        for at, raw in server.all(plural).items():
            if paused(raw) or conditions(raw).get("Ready", {}).get("status") != "True":
                continue
            if plural == "oauthclients":
                _check_ready_client(simulation, at, raw)
            elif (
                plural == "resourceservers"
                and simulation.observed.server_record(at).get("uid") != raw["metadata"]["uid"]
            ):
                simulation.fail(4, f"ResourceServer {at} is Ready but has no record")
            elif plural == "signingkeys" and not simulation.observed.kids(_jwks(simulation, raw)):
                simulation.fail(4, f"SigningKey {at} is Ready but the JWKS has no key")
    for plural, at, record in _orphan_records(simulation):
        if "orphanedTime" not in record:
            simulation.fail(11, f"the record of {plural} {at} has no owner but is not marked with orphanedTime")


def _orphan_records(simulation: Simulation) -> Iterator[tuple[str, NamespacedName, dict[str, Any]]]:
    """Records without an owner, except those whose owner may have been deleted with its CRD."""
    for plural, objects, prefix in (
        ("oauthclients", "secrets", "client"),
        ("resourceservers", "configmaps", "resourceserver"),
    ):
        for namespace, name in list(simulation.server.all(objects)):
            parts = name.split(".")
            if namespace != NAMESPACE or parts[0] != prefix or len(parts) != 3:
                continue
            at = parts[1], parts[2]
            if simulation.server.get(plural, *at) is None and not simulation.observed.may_stay(plural, at):
                client = plural == "oauthclients"
                yield (
                    plural,
                    at,
                    simulation.observed.client_record(at) if client else simulation.observed.server_record(at),
                )


def _check_ready_client(simulation: Simulation, at: NamespacedName, raw: Raw) -> None:
    if is_public(raw):
        _check_public_client(simulation, at, raw)
        return
    secret = simulation.server.get("secrets", at[0], secret_name(raw))
    if secret is None:
        simulation.fail(4, f"OAuthClient {at} is Ready but has no Secret")
    elif credential_digest(secret) not in simulation.observed.accepted(at):
        simulation.fail(1, f"OAuthClient {at} is Ready but its Secret is not accepted")


def _check_public_client(simulation: Simulation, at: NamespacedName, raw: Raw) -> None:
    secret, record = simulation.server.get("secrets", at[0], secret_name(raw)), simulation.observed.client_record(at)
    if secret and secret.get("type") == CREDENTIALS and owners(secret) == [raw["metadata"]["uid"]]:
        simulation.fail(1, f"OAuthClient {at} is public and Ready, and has a Secret")
    if record.get("credentials") or not record.get("public"):
        simulation.fail(1, f"OAuthClient {at} is public and Ready, and its record is not")


def _jwks(simulation: Simulation, key: Raw) -> Raw | None:
    name = key["spec"].get("jwks", {}).get("configMapName", "scopewright-jwks")
    return simulation.server.get("configmaps", NAMESPACE, name)


class FinalChecks:
    def __init__(self, simulation: Simulation, users: UserIncidents, faults: Faults) -> None:
        self.simulation, self.users, self.faults = simulation, users, faults

    async def run(self) -> None:
        """End all faults, wait for two resyncs, and check that nothing is left to write."""
        simulation = self.simulation
        simulation.log("*** final checks: all faults end")
        simulation.lease_pause.end()
        await self.faults.heal()
        await simulation.advance(30.0)
        self._undo_blocking_changes()
        await simulation.advance(30.0)
        simulation.lease_pause.begin()
        for pause in (2 * HOUR, RESYNC, RESYNC):
            await asyncio.sleep(RESYNC)
            self._undo_blocking_changes()
            await asyncio.sleep(pause)
        await asyncio.sleep(RESYNC)
        simulation.expected_access.forget_withdrawn()
        check_ready_objects(simulation)
        await simulation.pods.request_tokens()
        # A key may take over at this moment, and the clock of the new process may be behind that of the first.
        for _ in range(3):
            if not await self._second_run():
                break
        else:
            simulation.fail(4, "a new operator writes, although the earlier one had nothing left to write")
        await self._check_everything_ready()

    def _undo_blocking_changes(self) -> None:
        """Undo what keeps an object from being Ready, or an orphan from being deleted."""
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
        held = leader.operator._leader.resync.orphans_held if leader and leader.operator else {}
        if issuer and held:
            accepted = ",".join(f"{namespace}={count}" for namespace, count in held.items())
            annotations = {"scopewright.dev/allow-orphans": accepted}
            meta = {**issuer["metadata"], "annotations": annotations}
            server.put("configmaps", NAMESPACE, "scopewright-issuer", {**issuer, "metadata": meta})

    async def _second_run(self) -> int:
        """Start a new operator, which knows only the store. Returns the number of its writes."""
        simulation = self.simulation
        simulation.lease_pause.end()
        for operator in simulation.operators:
            operator.kill()
        await asyncio.sleep(15.0)
        before = simulation.writes
        simulation.operators[0].start()
        await asyncio.sleep(30.0)
        if simulation.leader is None or not simulation.leader.idle:
            simulation.fail(4, "no operator leads and is idle 30 s after its start")
        return simulation.writes - before

    async def _check_everything_ready(self) -> None:
        """Every client is Ready, every issuer accepts its Secret, and every record has an owner."""
        simulation, server = self.simulation, self.simulation.server
        for at, client in server.all("oauthclients").items():
            ready = conditions(client).get("Ready", {})
            raw = server.get("secrets", at[0], secret_name(client))
            if ready.get("status") != "True":
                what = f"{ready.get('reason')}: {ready.get('message')}"
                simulation.fail(4, f"OAuthClient {at} is not Ready at the end: {what}")
            if is_public(client):
                _check_public_client(simulation, at, client)
                continue
            if raw is None or credential_digest(raw) not in simulation.observed.accepted(at):
                simulation.fail(1, f"the Secret of OAuthClient {at} is not accepted at the end")
                continue
            simulation.pods._mount((at[0], secret_name(client)))
            await self._check_accepted(simulation.pods.pods[at[0], secret_name(client)])
        for plural, at, _ in _orphan_records(simulation):
            simulation.fail(4, f"the record of {plural} {at} has no owner at the end")

    async def _check_accepted(self, pod: Pod) -> None:
        for issuer in self.simulation.issuers:
            status = await self.simulation.pods.request(pod, issuer)
            if status not in (200, 400):
                self.simulation.fail(8, f"{issuer.name} answers {status} to the Secret of {pod.client} at the end")
