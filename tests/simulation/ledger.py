"""What an all-seeing auditor writes down: every write, every token, who made which secret. Invariants ask it."""

import base64
import hashlib
import json
from base64 import b64decode
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any

from scopewright.api import GROUP
from tests.simulation.process import START
from tests.simulation.server import CRDS, At, Done, Raw, Server

NAMESPACE = "scopewright-system"
CREDENTIALS = "servicebinding.io/oauth2"
CLIENT_RECORD = "scopewright.dev/client-record"
KEY_RECORD = "scopewright.dev/signing-key-record"
SKEW = 61.0
"""Seconds that two clocks may differ."""
SETTLING = 3.0
"""Seconds that a fresh read may be old: the negative cache, and requests on their way."""
Complaints = Iterator[str]


@dataclass
class Issued:
    """A token, and what the auditor knew about how it came to be."""

    issuer: str
    client: At
    digest: str
    claims: Mapping[str, Any]
    kid: str
    at: float
    known: bool
    """The issuer had the credential in memory."""
    reads: int
    """Reads of the store for this token."""
    behind: float
    """For how long the issuer's knowledge may be out of date, in seconds."""


@dataclass
class Refused:
    issuer: str
    client: At
    digest: str
    status: int
    error: str
    at: float
    known: bool
    reads: int


@dataclass
class Verified:
    """A verifier looked at a token that has not expired: did it know the key? `fetched` is when it got its JWKS."""

    token: Issued
    knows: bool
    fetched: float
    source_behind: float
    """For how long the replica that it came from had been without the store."""
    why: str = "unknown key"


@dataclass
class Told:
    """What an issuer, or its feed, said of a token that has not expired."""

    token: Issued
    issuer: str
    by: str
    good: bool
    at: float
    in_step_since: float
    """Since when the issuer knows what everybody may know."""
    all_in_step_since: float
    """Since when all issuers do."""
    began: float
    """When the issuer's process did."""
    verdict: tuple[int, str] | None = None
    """The invariant that is broken if it is good, and why; (0, "") where none is. Worked out once."""


@dataclass
class Ended:
    """A token that was revoked, and the issuer said so."""

    at: float
    issuer: str


@dataclass
class Logged:
    text: str


Fact = Done | Issued | Refused | Verified | Told | Logged


@lru_cache(maxsize=4096)
def parsed(data: str) -> Any:
    return json.loads(b64decode(data))


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    return json.loads(text)


def record_of(raw: Raw | None) -> dict[str, Any]:
    """The JSON in a record Secret; empty for what is none."""
    try:
        found = parsed((raw or {})["data"]["record.json"])
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


@lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """An instant of a record or manifest as seconds since the simulation began."""
    return (datetime.fromisoformat(text) - START).total_seconds()


def digest_in(raw: Raw | None) -> str:
    """The SHA-256 of the credential that a credential Secret holds."""
    data = (raw or {}).get("data") or {}
    value = data.get("client_secret") or data.get("private_key.jwk")
    return hashlib.sha256(b64decode(value)).hexdigest() if value else ""


@lru_cache(maxsize=4096)
def prefix_of(uid: str) -> str:
    """What the `jti` of each token of this client begins with."""
    return base64.urlsafe_b64encode(hashlib.sha256(uid.encode()).digest())[:12].decode()


def owners(raw: Raw) -> list[str]:
    return [o["uid"] for o in raw["metadata"].get("ownerReferences") or ()]


def secret_name(client: Raw) -> str:
    return str((client["spec"].get("credentials") or {}).get("secretName") or f"{client['metadata']['name']}-oauth")


def paused(raw: Raw) -> bool:
    """Whether its user has told the operator to leave it alone."""
    return bool((raw["metadata"].get("annotations") or {}).get("scopewright.dev/paused") == "true")


@dataclass
class Held:
    """A credential Secret as an operator wrote it."""

    at: At
    digest: str
    issued: float


@dataclass
class Ledger:
    server: Server
    publish_ahead: float
    max_cache: float
    operators: frozenset[str] = frozenset({"operator-a", "operator-b"})
    marker: str = "sEcReT"
    held: dict[str, Held] = field(default_factory=dict)
    """By UID: the Secret that an operator wrote last for it, while nobody else touched it."""
    issued: dict[str, float] = field(default_factory=dict)
    """By digest of what an operator put into a Secret: when it was issued."""
    replaced: dict[str, float] = field(default_factory=dict)
    """By digest: when the Secret ceased to hold it."""
    successors: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By digest: how many credentials were made after it."""
    minted_for: dict[str, str] = field(default_factory=dict)
    """The UID in whose record a digest first stood."""
    spoiled: set[str] = field(default_factory=set)
    """Digests with whose acceptance a user interfered."""
    withdrawn: dict[str, float] = field(default_factory=dict)
    restored: set[str] = field(default_factory=set)
    """Digests that a user brought back from a backup."""
    forgotten: set[str] = field(default_factory=set)
    """Digests of a client whose record a user changed or deleted: it remembered what was withdrawn."""
    tampered: set[At] = field(default_factory=set)
    """Clients whose record a user changed or deleted, until an operator has put it right."""
    foreign: set[tuple[str, At]] = field(default_factory=set)
    published: dict[str, float] = field(default_factory=dict)
    """By kid: since when the JWKS has held it without a gap."""
    emergency: set[str] = field(default_factory=set)
    """Keys that were made to sign at once."""
    revoked: dict[str, float] = field(default_factory=dict)
    """By kid: since when."""
    ends_keys_before: dict[str, str] = field(default_factory=dict)
    """By SigningKey, even when it is deleted since: its `revokedBefore`."""
    lost: set[str] = field(default_factory=set)
    """Keys whose record or private part a user deleted or edited, or whose publication."""
    max_exp: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    signed_first: dict[str, float] = field(default_factory=dict)
    meddled: float = -1.0
    """When a user last wrote or deleted a record."""
    stuck: set[str] = field(default_factory=set)
    """Audiences of what went with its CRD: nobody can plan anew for what is not declared."""
    synced: float = 0.0
    """When last everything was known to everybody."""
    crd_lost: set[str] = field(default_factory=set)
    """UIDs of objects that went with their CRD, not by their owner's will."""
    allowed: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)
    """By client UID, audience key and scope: until when the grant lasts, and when it was last seen to be there."""
    stale: dict[str, float] = field(default_factory=dict)
    """Since when a record has been as it is: by its name."""
    records_changed: float = 0.0
    """When anything was last written that issuers decide by."""
    access_changed: dict[str, float] = field(default_factory=dict)
    """By the name of a record: when it last said something else about who may have what."""
    ended: dict[str, Ended] = field(default_factory=dict)
    """By `jti`: what was revoked by its client, and an issuer has said so."""
    perhaps_ended: set[str] = field(default_factory=set)
    """What somebody tried to revoke."""
    revocations_meddled: float = -1.0
    """When a user last wrote or deleted the record of revocations."""
    revocations_made: float = 0.0
    """When that record was last made anew, changed by a user or deleted: issuers may be waiting to write it."""

    @property
    def now(self) -> float:
        return self.server.loop.now

    def is_operator(self, actor: str) -> bool:
        return actor in self.operators

    def stays(self, plural: str, at: At) -> bool:
        """Whether the record of what is not there stays: its owner is older than the CRD, and may have gone with it."""
        record = self.client_record(at) if plural == "oauthclients" else self.server_record(at)
        crd = self.server.get(CRDS, "", f"{plural}.{GROUP}")
        if not record or self.server.get(plural, *at):
            return False
        return crd is None or seconds(record["ownerCreationTime"]) < seconds(crd["metadata"]["creationTimestamp"])

    def client(self, at: At) -> Raw | None:
        return self.server.get("oauthclients", *at)

    def by_uid(self, uid: str) -> Raw | None:
        return next((c for c in self.server.all("oauthclients").values() if c["metadata"]["uid"] == uid), None)

    def client_record(self, at: At) -> dict[str, Any]:
        return record_of(self.server.get("secrets", NAMESPACE, f"client.{at[0]}.{at[1]}"))

    def server_record(self, at: At) -> dict[str, Any]:
        raw = self.server.get("configmaps", NAMESPACE, f"resourceserver.{at[0]}.{at[1]}")
        return read(raw["data"]["record.json"]) if raw else {}

    def server_records(self) -> dict[At, dict[str, Any]]:
        """By the ResourceServer that each speaks of."""
        names = (name.split(".") for at, name in self.server.all("configmaps") if at == NAMESPACE)
        found = [(name[1], name[2]) for name in names if name[0] == "resourceserver" and len(name) == 3]
        return {at: self.server_record(at) for at in found}

    def access_changed_for(self, at: At) -> float:
        """When last anything changed that this client's tokens rest on."""
        name = f"client.{at[0]}.{at[1]}"
        changes = self.access_changed.items()
        return max((when for of, when in changes if of == name or of.startswith("resourceserver.")), default=0.0)

    def accepted(self, at: At, now: float | None = None) -> set[str]:
        now = self.now if now is None else now
        return {
            c["sha256"]
            for c in self.client_record(at).get("credentials", ())
            if "expirationTime" not in c or seconds(c["expirationTime"]) > now
        }

    def revoked_before(self, client: Raw) -> float | None:
        text = (client["spec"].get("rotation") or {}).get("revokedBefore")
        return seconds(text) if text and seconds(text) <= self.now + SKEW else None

    def key_records(self) -> list[tuple[dict[str, Any], Raw]]:
        found = ((record_of(raw), raw) for raw in self.server.all("secrets").values() if raw.get("type") == KEY_RECORD)
        return [(record, raw) for record, raw in found if record]

    def kids(self, raw: Raw | None) -> set[str]:
        try:
            return {k["kid"] for k in json.loads((raw or {})["data"]["jwks.json"])["keys"]}
        except (KeyError, ValueError, TypeError):
            return set()
