"""Inputs of the plan for one client."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scopewright.api import OAuthClient
from scopewright.core.client.authentication import KeyPair, is_public, managed_kind
from scopewright.core.client.credentials import Cause, CauseKind, SecretOwnership
from scopewright.core.client.overlap import LastUse
from scopewright.core.config import Config
from scopewright.core.failed_writes import FailedWrite, failed_write_of
from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing, Ref
from scopewright.core.plan import Event
from scopewright.core.records.client import ClientRecord, Credential
from scopewright.core.records.names import client_record_name
from scopewright.core.records.resource_server import ResourceServerRecord


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential whose writes did not all succeed, with its value for the Secret."""

    credential: Credential
    value: bytes = field(repr=False)
    cause: Cause


@dataclass(frozen=True, slots=True)
class IssueFailure:
    """A new credential is due for `cause`, and cannot be written before `retry_time`."""

    cause: Cause
    reason: str
    message: str
    retry_time: datetime
    needs_user: bool

    @property
    def is_rotation(self) -> bool:
        """Whether the credential replaces an earlier one."""
        return self.cause.kind is not CauseKind.FIRST


@dataclass(frozen=True, slots=True)
class ClientView:
    """All inputs of the plan for one client.

    `generate_secret` returns a new secret of 256 bits, `[A-Za-z0-9]`; `generate_key_pair` a key pair for ES256.
    """

    client: OAuthClient
    record: ClientRecord | None
    record_object: Existing | None
    secret: Existing | None
    former_secrets: tuple[Existing, ...]
    """Secrets of this client under an earlier `secretName`."""
    servers: Mapping[str, ResourceServerRecord]
    seal_key: bytes
    config: Config
    now: datetime
    generate_secret: Callable[[], str]
    generate_key_pair: Callable[[], KeyPair]
    named_by_others: frozenset[Ref] = frozenset()
    """Those of `former_secrets` whose name another OAuthClient has in its spec."""
    in_cycle: frozenset[Ref] = frozenset()
    """Those of `named_by_others` that this client's own Secret waits for: clients exchange names in a cycle."""
    terminating: bool = False
    """Whether its namespace is being deleted, so that nothing can be created there."""
    service_account_uid: str | None = None
    """UID of its ServiceAccount in this cluster: "" if it does not exist, None if it names none of this cluster."""
    last_use: LastUse = field(default_factory=dict)
    """Last use of this client's credentials, and of its own credential."""
    signing: frozenset[str] = frozenset()
    """SigningKeys with an active key."""
    forbidden_keys: frozenset[str] = frozenset()
    """SigningKeys whose algorithm the profile does not allow."""
    providers: frozenset[str] = frozenset()
    """Names of the IdentityProviders in force."""
    developer_login: bool = False
    """Whether the developer login of `scopewright dev` stands in for every IdentityProvider: none is declared."""
    reporting_since: datetime | None = None
    """Start of the issuers' reports of use. Without it, no client is reported as unused."""
    beyond_limits: Rejected | None = None
    """Why it is not served, if its namespace exceeds its limits."""
    events: tuple[Event, ...] = ()
    """Events that no status lists yet."""
    failed_writes: tuple[FailedWrite, ...] = ()
    """Failed writes whose retry is not due yet."""
    attempt: NewCredential | None = None
    """Credential of the last attempt, to be retried."""
    attempt_refused: bool = False
    """Whether no write of `attempt` was carried out, or can still be."""
    last_unanswered: datetime | None = None
    """Time of the last write with an unknown outcome, of this process or a former leader; None if there was none."""

    @property
    def record_ref(self) -> Ref:
        return Ref("Secret", self.config.namespace, client_record_name(self.client.namespace, self.client.name))

    @property
    def secret_ref(self) -> Ref:
        return Ref("Secret", self.client.namespace, self.client.secret_name)

    def failed_write_of(self, *refs: Ref) -> FailedWrite | None:
        return failed_write_of(self.failed_writes, *refs)


@dataclass(frozen=True, slots=True)
class ClientState:
    """Current state of a client: its record, the ownership of its Secret, and the credential in both."""

    record: ClientRecord | None
    ownership: SecretOwnership
    current: Credential | None

    @property
    def secret_is_managed(self) -> bool:
        return self.ownership in (SecretOwnership.SEALED, SecretOwnership.EDITED)


def own_record(view: ClientView) -> ClientRecord | None:
    """Return the record if it has the client's UID. The record of an earlier client of that name is not used."""
    return view.record if view.record and view.record.uid == view.client.uid else None


def is_bound(view: ClientView, state: ClientState) -> bool:
    """Whether there is a Secret with which a service can start."""
    if is_public(view.client):
        return False
    return state.current is not None or (managed_kind(view.client) is None and state.secret_is_managed)
