"""12. What is due happens within a bounded time after its cause has gone: found from manifests and objects alone."""

from collections.abc import Iterator
from typing import Final

from tests.simulation.ledger import (
    CREDENTIALS,
    NAMESPACE,
    SKEW,
    Ledger,
    digest_in,
    owners,
    paused,
    seconds,
    secret_name,
)
from tests.simulation.refusals import INSTALLATION
from tests.simulation.server import CRDS, DECLARED, At, Raw
from tests.simulation.settings import LONGEST_PAUSE

DUE: Final = 12
"""The number of the invariant."""
BOUND: Final = 2 * LONGEST_PAUSE
"""Seconds: the longest pause between attempts with its jitter, and as much again for whoever leads next."""
_HOURS: Final = {"h": 3600.0, "m": 60.0, "s": 1.0}
_EXCUSES: Final = ("HealingLimited", "SecretConflict")
"""Reasons of Ready why nothing is to happen."""

Dues = dict[tuple[str, At], tuple[str, ...]]
"""What is due of which object, with all that would be different if it had happened, or if somebody had changed it."""


def dues(ledger: Ledger) -> Dues:
    """What should have happened by now."""
    server, found = ledger.server, Dues()
    for plural in DECLARED:
        if not server.get(CRDS, "", f"{plural}.scopewright.dev"):
            continue
        for at, raw in server.all(plural).items():
            if paused(raw):
                continue
            for what in _dues_of(plural, at, raw, ledger):
                meta = raw["metadata"]
                found[plural, at] = (*what, meta["uid"], str(meta["generation"]), _rotate(raw))
    for name in INSTALLATION:
        if not server.get("configmaps", NAMESPACE, name) and not server.get("secrets", NAMESPACE, name):
            found["the installation", (NAMESPACE, name)] = ("it is missing",)
    return found


def _dues_of(plural: str, at: At, raw: Raw, ledger: Ledger) -> Iterator[tuple[str, ...]]:
    """The last one counts."""
    observed = raw.get("status", {}).get("observedGeneration")
    if observed != raw["metadata"]["generation"]:
        yield "status", str(observed)
    conditions = {c["type"]: c for c in raw.get("status", {}).get("conditions", ())}
    failing = conditions.get("RotationFailing", {})
    if failing.get("status") == "True" and failing.get("reason") != "CredentialsInUse":
        yield "a condition that is over", str(failing.get("reason"))
    if plural == "oauthclients" and conditions.get("Ready", {}).get("reason") not in _EXCUSES:
        yield from _of_client(at, raw, ledger)
    elif plural == "resourceservers":
        record, scopes = ledger.server_record(at), sorted(s["name"] for s in raw["spec"].get("scopes", ()))
        if record and record.get("audience") and sorted(record.get("scopes", ())) != scopes:
            yield "record", str(record.get("scopes"))
    elif plural == "signingkeys" and at[0] == NAMESPACE:
        yield from _of_key(at, raw, ledger)


def _of_client(at: At, raw: Raw, ledger: Ledger) -> Iterator[tuple[str, ...]]:
    spec, rotation = raw["spec"], raw["spec"].get("rotation", {})
    name = at[0], secret_name(raw)
    secret, record = ledger.server.get("secrets", *name), ledger.client_record(at)
    if spec.get("disabled") or len(record.get("credentials", ())) >= 4 or ("secrets", name) in ledger.foreign:
        return
    if secret and (secret.get("type") != CREDENTIALS or owners(secret) not in ([], [raw["metadata"]["uid"]])):
        return
    digest = digest_in(secret)
    held = next((c for c in record.get("credentials", ()) if c["sha256"] == digest), None)
    if held is None or "expirationTime" in held:
        yield "a credential", digest
        return
    age, issued = ledger.now - 2 * SKEW, seconds(held["issueTime"])
    if not rotation.get("suspend") and not rotation.get("windows") and issued + _duration(rotation["every"]) < age:
        yield "rotation by age", digest
    if _rotate(raw) not in ("", held.get("rotate", "")):
        yield "rotation by hand", digest
    before = rotation.get("revokedBefore")
    if before and issued < seconds(before) < age:
        yield "revocation", digest
    if ("jwk" in held) != (spec.get("authentication", {}).get("method") == "PrivateKeyJWT"):
        yield "change of method", digest


def _of_key(at: At, raw: Raw, ledger: Ledger) -> Iterator[tuple[str, ...]]:
    records = [record for record, _ in ledger.key_records() if record["signingKey"] == at[1]]
    before = raw["spec"].get("revokedBefore")
    for record in records:
        old = before and seconds(record["creationTime"]) < seconds(before) < ledger.now - 2 * SKEW
        if old and "revokedTime" not in record:
            yield "revocation of", record["kid"]
        jwks = ledger.server.get("configmaps", NAMESPACE, record["configMap"])
        ends = record.get("verificationEndTime")
        lasts = ends is None or seconds(ends) > ledger.now + 2 * SKEW
        if lasts and "revokedTime" not in record and record["kid"] not in ledger.kids(jwks):
            yield "publication of", record["kid"]


def _rotate(raw: Raw) -> str:
    return str((raw["metadata"].get("annotations") or {}).get("scopewright.dev/rotate", ""))


def _duration(text: str) -> float:
    return float(text[:-1]) * _HOURS[text[-1]]
