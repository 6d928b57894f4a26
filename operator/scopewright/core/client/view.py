"""What the plan for one client depends on."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scopewright.api import OAuthClient
from scopewright.core.client.authentication import KeyPair, managed_kind
from scopewright.core.client.credentials import Cause, CauseKind, SecretOwnership
from scopewright.core.client.overlap import LastUse
from scopewright.core.config import Config
from scopewright.core.failed_writes import FailedWrite, failed_write_of
from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing, Ref
from scopewright.core.plan import Event
from scopewright.core.records import ClientRecord, Credential, ResourceServerRecord, client_record_name


@dataclass(frozen=True, slots=True)
class NewCredential:
    """A credential whose writes did not all succeed, with what the Secret is to hold of it."""

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
        """Whether it was to take the place of an earlier one."""
        return self.cause.kind is not CauseKind.FIRST


@dataclass(frozen=True, slots=True)
class ClientView:
    """All that the plan for one client depends on.

    `mint` makes a new secret: 256 bits, `[A-Za-z0-9]`; `make_pair` a key pair for ES256.
    """

    client: OAuthClient
    record: ClientRecord | None
    record_object: Existing | None
    secret: Existing | None
    former_secrets: tuple[Existing, ...]
    """Secrets of this client under names that it no longer has."""
    servers: Mapping[str, ResourceServerRecord]
    seal_key: bytes
    config: Config
    now: datetime
    mint: Callable[[], str]
    make_pair: Callable[[], KeyPair]
    claimed: frozenset[Ref] = frozenset()
    """Those of `former_secrets` that another OAuthClient names as its own."""
    awaited: frozenset[Ref] = frozenset()
    """Those of them that this client's own Secret waits for: the clients in between have moved on in a ring."""
    terminating: bool = False
    """Whether its namespace is being deleted: nothing may be created there."""
    service_account_uid: str | None = None
    """Of the ServiceAccount of this cluster that it names: "" while there is none, None where there is no cluster."""
    last_use: LastUse = field(default_factory=dict)
    """Of this client's credentials, and of what it brings itself."""
    reporting_since: datetime | None = None
    """Since when issuers report use; without it, nothing is known of what is not used."""
    beyond_limits: Rejected | None = None
    """Why it is not served, where its namespace has too many or too large objects."""
    events: tuple[Event, ...] = ()
    failed_writes: tuple[FailedWrite, ...] = ()
    """Writes that failed and are not to be tried again yet."""
    attempt: NewCredential | None = None
    """What the last attempt was to hand out, to be tried again."""
    attempt_refused: bool = False
    """Whether no write with it can have been carried out, nor can be."""
    quiet_since: datetime | None = None
    """Since when no write with an unknown outcome was sent, by this process or by an earlier leader; None: ever."""

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
    """What there is of a client: its own record, what its Secret is to us, and the credential that both agree on."""

    record: ClientRecord | None
    standing: SecretOwnership
    current: Credential | None

    @property
    def secret_is_ours(self) -> bool:
        return self.standing in (SecretOwnership.SEALED, SecretOwnership.EDITED)


def own_record(view: ClientView) -> ClientRecord | None:
    """The record, if it is this very client's: one of an earlier client of the same name hands down nothing."""
    return view.record if view.record and view.record.uid == view.client.uid else None


def is_bound(view: ClientView, found: ClientState) -> bool:
    """Whether there is a Secret that a service can start with."""
    return found.current is not None or (managed_kind(view.client) is None and found.secret_is_ours)
