"""All that the simulation has observed: writes, tokens, and for which UID each secret was made. Invariants read it."""

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
from tests.simulation.server import CRDS, NamespacedName, Raw, Server, Write

NAMESPACE = "scopewright-system"
CREDENTIALS = "servicebinding.io/oauth2"
CLIENT_RECORD = "scopewright.dev/client-record"
KEY_RECORD = "scopewright.dev/signing-key-record"
MAX_SKEW_SECONDS = 61.0
"""Seconds that two clocks may differ."""
PROPAGATION_SECONDS = 3.0
"""Seconds that a read-through may be old: the negative cache, and requests in flight."""
Violations = Iterator[str]


@dataclass
class TokenIssued:
    """The issuer has issued a token."""

    issuer: str
    client: NamespacedName
    digest: str
    claims: Mapping[str, Any]
    kid: str
    time: float
    known_to_issuer: bool
    """Whether the issuer had the credential in memory."""
    reads: int
    """Reads of the store for this token."""
    staleness: float
    """Seconds by which the issuer's registry may be out of date."""


@dataclass
class UserAccessSeen:
    """What an issuer lets a user have through a client: scopes and `role <name>`, each with its end."""

    issuer: str
    client: NamespacedName
    digest: str
    user: str
    audience: str
    ends: Mapping[str, float]
    time: float
    staleness: float


@dataclass
class TokenRefused:
    issuer: str
    client: NamespacedName
    digest: str
    status: int
    error: str
    time: float
    known_to_issuer: bool
    reads: int


@dataclass
class TokenVerified:
    """A verifier has checked a token that has not expired. `fetched` is the time of its JWKS."""

    token: TokenIssued
    knows_key: bool
    fetched: float
    source_staleness: float
    """Seconds for which the replica that served the JWKS had been without the store."""
    why: str = "unknown key"


@dataclass
class TokenStatus:
    """The answer of an issuer's introspection or revocation feed about a token that has not expired."""

    token: TokenIssued
    issuer: str
    by: str
    valid: bool
    time: float
    up_to_date_since: float
    """Since when the issuer has followed all records."""
    all_up_to_date_since: float
    """The same for all issuers."""
    started: float
    """When the issuer's process was started."""
    verdict: tuple[int, str] | None = None
    """The invariant that a valid token would break, and why; (0, "") if none. Computed once."""


@dataclass
class TokenRevoked:
    """A token that its client revoked; the issuer answered 200."""

    time: float
    issuer: str


@dataclass
class LogLine:
    text: str


Fact = Write | TokenIssued | UserAccessSeen | TokenRefused | TokenVerified | TokenStatus | LogLine


@lru_cache(maxsize=4096)
def parsed(data: str) -> Any:
    return json.loads(b64decode(data))


@lru_cache(maxsize=4096)
def read(text: str) -> Any:
    return json.loads(text)


def record_of(raw: Raw | None) -> dict[str, Any]:
    """The JSON in a record Secret; empty if it is not a record."""
    try:
        found = parsed((raw or {})["data"]["record.json"])
    except (KeyError, ValueError, TypeError):
        return {}
    return found if isinstance(found, dict) else {}


@lru_cache(maxsize=4096)
def seconds(text: str) -> float:
    """An instant of a record or manifest as seconds since the simulation began."""
    return (datetime.fromisoformat(text) - START).total_seconds()


def credential_digest(raw: Raw | None) -> str:
    """The SHA-256 of the credential that a credential Secret holds."""
    data = (raw or {}).get("data") or {}
    value = data.get("client_secret") or data.get("private_key.jwk")
    return hashlib.sha256(b64decode(value)).hexdigest() if value else ""


@lru_cache(maxsize=4096)
def jti_prefix(uid: str) -> str:
    """The prefix of the `jti` of each token of this client."""
    return base64.urlsafe_b64encode(hashlib.sha256(uid.encode()).digest())[:12].decode()


def owners(raw: Raw) -> list[str]:
    return [o["uid"] for o in raw["metadata"].get("ownerReferences") or ()]


def secret_name(client: Raw) -> str:
    return str((client["spec"].get("credentials") or {}).get("secretName") or f"{client['metadata']['name']}-oauth")


def is_public(client: Raw) -> bool:
    return bool(client["spec"].get("authentication", {}).get("method") == "None")


def paused(raw: Raw) -> bool:
    """Whether the object has the annotation `scopewright.dev/paused`."""
    return bool((raw["metadata"].get("annotations") or {}).get("scopewright.dev/paused") == "true")


@dataclass
class WrittenSecret:
    """A credential Secret as an operator wrote it."""

    at: NamespacedName
    digest: str
    issue_time: float


@dataclass
class Observations:
    server: Server
    publish_ahead: float
    max_cache: float
    operators: frozenset[str] = frozenset({"operator-a", "operator-b"})
    marker: str = "sEcReT"
    secrets: dict[str, WrittenSecret] = field(default_factory=dict)
    """By UID of the client: the Secret that an operator wrote last, unless a user changed it since."""
    issue_times: dict[str, float] = field(default_factory=dict)
    """By digest of a credential in a Secret: its issue time."""
    replaced_times: dict[str, float] = field(default_factory=dict)
    """By digest: since when the Secret does not hold it."""
    successors: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By digest: how many credentials were made after it."""
    uid_of_digest: dict[str, str] = field(default_factory=dict)
    """By digest: the UID of the first record that contained it."""
    damaged_digests: set[str] = field(default_factory=set)
    """Digests whose record a user changed, or that were revoked."""
    withdrawn_digests: dict[str, float] = field(default_factory=dict)
    restored_digests: set[str] = field(default_factory=set)
    """Digests that a user brought back from a backup."""
    forgotten_digests: set[str] = field(default_factory=set)
    """Digests of clients whose record a user changed or deleted, and with it the memory of withdrawals."""
    edited_records: set[NamespacedName] = field(default_factory=set)
    """Clients whose record a user changed or deleted, until an operator has repaired it."""
    foreign_objects: set[tuple[str, NamespacedName]] = field(default_factory=set)
    published_times: dict[str, float] = field(default_factory=dict)
    """By kid: since when the JWKS has held it without a gap."""
    emergency_keys: set[str] = field(default_factory=set)
    """Emergency keys."""
    revoked_keys: dict[str, float] = field(default_factory=dict)
    """By kid: since when."""
    key_revocations: dict[str, str] = field(default_factory=dict)
    """By SigningKey, also a deleted one: its `revokedBefore`."""
    damaged_keys: set[str] = field(default_factory=set)
    """Keys whose record, private part or publication a user edited or deleted."""
    last_expiry: defaultdict[str, float] = field(default_factory=lambda: defaultdict(float))
    last_user_write: float = -1.0
    """When a user last wrote or deleted a record."""
    unprovable_audiences: set[str] = field(default_factory=set)
    """Audiences of resource servers that were deleted with their CRD: their records stay as they are."""
    converged_time: float = 0.0
    """When all processes last had all current objects."""
    deleted_with_crd: set[str] = field(default_factory=set)
    """UIDs of objects that were deleted with their CRD, not by their owner."""
    access: dict[tuple[str, str, str], tuple[float, float]] = field(default_factory=dict)
    """By client UID, audience and scope or `role <name>`: end of the grant, and when it was last in force. What a user
    has through the client has the user's name in front.
    """
    record_times: dict[str, float] = field(default_factory=dict)
    """By name of a record: when it was last changed."""
    records_changed_time: float = 0.0
    """When any record that issuers read was last changed."""
    access_changed_times: dict[str, float] = field(default_factory=dict)
    """By name of a record: when its access fields were last changed."""
    revoked_tokens: dict[str, TokenRevoked] = field(default_factory=dict)
    """By `jti`: tokens that were revoked by their client."""
    revocation_attempts: set[str] = field(default_factory=set)
    """The `jti` of each token in a revocation request, whatever the answer was."""
    revocations_edited_time: float = -1.0
    """When a user last wrote or deleted the revocation record."""
    revocations_reset_time: float = 0.0
    """When that record was last created, or edited or deleted by a user: issuers may be about to write it."""

    @property
    def now(self) -> float:
        return self.server.loop.now

    def is_operator(self, actor: str) -> bool:
        return actor in self.operators

    def may_stay(self, plural: str, at: NamespacedName) -> bool:
        """Whether the record of a missing owner may stay: the owner may have been deleted with its CRD."""
        record = self.client_record(at) if plural == "oauthclients" else self.server_record(at)
        crd = self.server.get(CRDS, "", f"{plural}.{GROUP}")
        if not record or self.server.get(plural, *at):
            return False
        return crd is None or seconds(record["ownerCreationTime"]) < seconds(crd["metadata"]["creationTimestamp"])

    def client(self, at: NamespacedName) -> Raw | None:
        return self.server.get("oauthclients", *at)

    def by_uid(self, uid: str) -> Raw | None:
        return next((c for c in self.server.all("oauthclients").values() if c["metadata"]["uid"] == uid), None)

    def client_record(self, at: NamespacedName) -> dict[str, Any]:
        return record_of(self.server.get("secrets", NAMESPACE, f"client.{at[0]}.{at[1]}"))

    def server_record(self, at: NamespacedName) -> dict[str, Any]:
        raw = self.server.get("configmaps", NAMESPACE, f"resourceserver.{at[0]}.{at[1]}")
        return read(raw["data"]["record.json"]) if raw else {}

    def server_records(self) -> dict[NamespacedName, dict[str, Any]]:
        """By namespace and name of the ResourceServer."""
        names = (name.split(".") for at, name in self.server.all("configmaps") if at == NAMESPACE)
        found = [(name[1], name[2]) for name in names if name[0] == "resourceserver" and len(name) == 3]
        return {at: self.server_record(at) for at in found}

    def access_changed_for(self, at: NamespacedName) -> float:
        """When a record that decides about this client's access was last changed."""
        name = f"client.{at[0]}.{at[1]}"
        changes = self.access_changed_times.items()
        return max((when for of, when in changes if of == name or of.startswith("resourceserver.")), default=0.0)

    def accepted(self, at: NamespacedName, now: float | None = None) -> set[str]:
        now = self.now if now is None else now
        return {
            c["sha256"]
            for c in self.client_record(at).get("credentials", ())
            if "expirationTime" not in c or seconds(c["expirationTime"]) > now
        }

    def revoked_before(self, client: Raw) -> float | None:
        text = (client["spec"].get("rotation") or {}).get("revokedBefore")
        return seconds(text) if text and seconds(text) <= self.now + MAX_SKEW_SECONDS else None

    def key_records(self) -> list[tuple[dict[str, Any], Raw]]:
        found = ((record_of(raw), raw) for raw in self.server.all("secrets").values() if raw.get("type") == KEY_RECORD)
        return [(record, raw) for record, raw in found if record]

    def kids(self, raw: Raw | None) -> set[str]:
        try:
            return {k["kid"] for k in json.loads((raw or {})["data"]["jwks.json"])["keys"]}
        except (KeyError, ValueError, TypeError):
            return set()
