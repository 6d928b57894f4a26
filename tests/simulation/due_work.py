"""Invariant 12: due work is done in bounded time after all faults have ended. Computed from manifests and objects."""

from collections.abc import Iterator
from typing import Final

from tests.simulation.observations import (
    CREDENTIALS,
    MAX_SKEW_SECONDS,
    NAMESPACE,
    Observations,
    credential_digest,
    is_public,
    owners,
    paused,
    seconds,
    secret_name,
)
from tests.simulation.refusals import INSTALLATION
from tests.simulation.server import CRDS, DECLARED, NamespacedName, Raw
from tests.simulation.settings import LONGEST_PAUSE_SECONDS

BOUNDED_TIME: Final = 12
"""The number of the invariant."""
BOUND_SECONDS: Final = 2 * LONGEST_PAUSE_SECONDS
"""Twice the longest pause between two attempts: once for the leader, once for its successor."""
_HOURS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}
_BLOCKED_REASONS: Final = ("HealingLimited", "SecretConflict")
"""Reasons of Ready with which nothing is due."""

DueWork = dict[tuple[str, NamespacedName], tuple[str, ...]]
"""By plural and name: what is due, and values that change when it is done or when a user changes the object."""


def due_work(observed: Observations) -> DueWork:
    """All work that is due now."""
    server, found = observed.server, DueWork()
    for plural in DECLARED:
        if not server.get(CRDS, "", f"{plural}.scopewright.dev"):
            continue
        for at, raw in server.all(plural).items():
            if paused(raw):
                continue
            for what in _due_of(plural, at, raw, observed):
                meta = raw["metadata"]
                found[plural, at] = (*what, meta["uid"], str(meta["generation"]), _rotate(raw))
    for name in INSTALLATION:
        if not server.get("configmaps", NAMESPACE, name) and not server.get("secrets", NAMESPACE, name):
            found["the installation", (NAMESPACE, name)] = ("missing object",)
    return found


def _due_of(plural: str, at: NamespacedName, raw: Raw, observed: Observations) -> Iterator[tuple[str, ...]]:
    """Each thing that is due; the caller keeps the last one."""
    generation = raw.get("status", {}).get("observedGeneration")
    if generation != raw["metadata"]["generation"]:
        yield "status", str(generation)
    conditions = {c["type"]: c for c in raw.get("status", {}).get("conditions", ())}
    failing = conditions.get("RotationFailing", {})
    if failing.get("status") == "True" and failing.get("reason") != "CredentialsInUse":
        yield "removal of RotationFailing", str(failing.get("reason"))
    if plural == "oauthclients" and conditions.get("Ready", {}).get("reason") not in _BLOCKED_REASONS:
        yield from (_due_of_public_client if is_public(raw) else _due_of_client)(at, raw, observed)
    elif plural == "resourceservers":
        record, scopes = observed.server_record(at), sorted(s["name"] for s in raw["spec"].get("scopes", ()))
        if record and record.get("audience") and sorted(record.get("scopes", ())) != scopes:
            yield "record", str(record.get("scopes"))
    elif plural == "signingkeys" and at[0] == NAMESPACE:
        yield from _due_of_key(at, raw, observed)


def _due_of_client(at: NamespacedName, raw: Raw, observed: Observations) -> Iterator[tuple[str, ...]]:
    spec, rotation = raw["spec"], raw["spec"].get("rotation", {})
    name = at[0], secret_name(raw)
    secret, record = observed.server.get("secrets", *name), observed.client_record(at)
    if spec.get("disabled") or len(record.get("credentials", ())) >= 4 or ("secrets", name) in observed.foreign_objects:
        return
    if secret and (secret.get("type") != CREDENTIALS or owners(secret) not in ([], [raw["metadata"]["uid"]])):
        return
    digest = credential_digest(secret)
    held = next((c for c in record.get("credentials", ()) if c["sha256"] == digest), None)
    if held is None or "expirationTime" in held:
        yield "credential", digest
        return
    age, issued = observed.now - 2 * MAX_SKEW_SECONDS, seconds(held["issueTime"])
    if not rotation.get("suspend") and not rotation.get("windows") and issued + _duration(rotation["every"]) < age:
        yield "rotation by age", digest
    if _rotate(raw) not in ("", held.get("rotate", "")):
        yield "rotation by hand", digest
    before = rotation.get("revokedBefore")
    if before and issued < seconds(before) < age:
        yield "revocation", digest
    if ("jwk" in held) != (spec.get("authentication", {}).get("method") == "PrivateKeyJWT"):
        yield "change of method", digest


def _due_of_public_client(at: NamespacedName, raw: Raw, observed: Observations) -> Iterator[tuple[str, ...]]:
    secret, record = observed.server.get("secrets", at[0], secret_name(raw)), observed.client_record(at)
    if record.get("credentials") or not record.get("public"):
        yield "end of credentials", str(len(record.get("credentials", ())))
    elif secret and secret.get("type") == CREDENTIALS and owners(secret) == [raw["metadata"]["uid"]]:
        yield "deletion of Secret", str(secret["metadata"]["uid"])


def _due_of_key(at: NamespacedName, raw: Raw, observed: Observations) -> Iterator[tuple[str, ...]]:
    records = [record for record, _ in observed.key_records() if record["signingKey"] == at[1]]
    before = raw["spec"].get("revokedBefore")
    for record in records:
        old = before and seconds(record["creationTime"]) < seconds(before) < observed.now - 2 * MAX_SKEW_SECONDS
        if old and "revokedTime" not in record:
            yield "revocation of key", record["kid"]
        jwks = observed.server.get("configmaps", NAMESPACE, record["configMap"])
        ends = record.get("verificationEndTime")
        lasts = ends is None or seconds(ends) > observed.now + 2 * MAX_SKEW_SECONDS
        if lasts and "revokedTime" not in record and record["kid"] not in observed.kids(jwks):
            yield "publication of key", record["kid"]


def _rotate(raw: Raw) -> str:
    return str((raw["metadata"].get("annotations") or {}).get("scopewright.dev/rotate", ""))


def _duration(text: str) -> float:
    return float(text[:-1]) * _HOURS[text[-1]]
