"""The result of a plan, as data. It contains no secret and nothing derived from one."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Literal

from scopewright.core.objects import Ref
from scopewright.core.users import quoted_group

Action = Literal[
    "made", "changed", "deleted", "rotated", "revoked", "moved", "disabled", "enabled", "adopted", "retired"
]


NOT_READ: Final = "NotRead"
"""Reason of a refusal of a file that could not be read: the plan may be incomplete."""


@dataclass(frozen=True, slots=True, order=True)
class Location:
    """A line (from 1) of a file."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Finding:
    """A refusal or a warning. The message says what to do.

    `field` is the path within the manifest. `location` is None where the object is not among the manifests given.
    A finding that is not `new` applied before the change too.
    """

    subject: Ref | None
    reason: str
    message: str
    field: tuple[str | int, ...] = ()
    location: Location | None = None
    new: bool = True


@dataclass(frozen=True, slots=True)
class GrantedUsers:
    """Users that an entry of `toUsers` names: a group, one user, or every user if both are empty."""

    group: str = ""
    subject: str = ""

    def __str__(self) -> str:
        return (
            f"group {quoted_group(self.group)}"
            if self.group
            else f"user {self.subject}"
            if self.subject
            else "every user"
        )


@dataclass(frozen=True, slots=True)
class EffectiveScope:
    """A scope or role of a resource server that tokens of a client may carry; both are `<namespace>/<name>`.

    With `users`, these are tokens of the users, and otherwise of the client itself. `via` are the ScopeGrants
    (`<namespace>/<name>`) that grant it, none within a namespace; it ends at `until`.
    """

    client: str
    server: str
    scope: str
    """With `is_role`, the name of the role."""
    via: tuple[str, ...] = ()
    until: datetime | None = None
    users: GrantedUsers | None = None
    is_role: bool = False


@dataclass(frozen=True, slots=True)
class AccessChange:
    """A scope gained (no `before`), lost (no `after`, and `because` says why), or held until another time."""

    before: EffectiveScope | None
    after: EffectiveScope | None
    because: str = ""

    @property
    def access(self) -> EffectiveScope:
        effective = self.after or self.before
        if effective is None:
            raise AssertionError("a change of access has a before or an after")
        return effective


@dataclass(frozen=True, slots=True)
class Caller:
    """A client (`<namespace>/<name>`) that acts for itself, or for `users`. With `several`, only users whom several
    grants reach together have what is needed.
    """

    client: str
    users: GrantedUsers | None = None
    several: bool = False

    @property
    def is_every_user(self) -> bool:
        return self.users == GrantedUsers()

    def __str__(self) -> str:
        if self.several:
            return f"users of several groups through {self.client}"
        return f"{self.users} through {self.client}" if self.users else self.client


@dataclass(frozen=True, slots=True)
class RequestChange:
    """Requests that a rule of a resource server (`<namespace>/<name>`) newly allows, or allowed before.

    `site` is the hostname, or the audience without its path if gateways do not serve it. `paths` begin with the base
    path. Without `methods` it is every method but `except_methods`; without `callers`, anyone may send them.
    """

    server: str
    rule: str
    site: str
    paths: tuple[str, ...]
    methods: tuple[str, ...]
    except_methods: tuple[str, ...]
    callers: tuple[Caller, ...]
    gained: bool
    location: Location | None = None

    @property
    def is_anyone(self) -> bool:
        return not self.callers


@dataclass(frozen=True, slots=True)
class ObjectChange:
    """A change of one object, credential, key or Secret; `detail` is a sentence or a list of fields."""

    subject: Ref
    action: Action
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PlanResult:
    """All differences, each in a stable order."""

    refusals: tuple[Finding, ...] = ()
    warnings: tuple[Finding, ...] = ()
    access: tuple[AccessChange, ...] = ()
    requests: tuple[RequestChange, ...] = ()
    logins: tuple[ObjectChange, ...] = ()
    credentials: tuple[ObjectChange, ...] = ()
    keys: tuple[ObjectChange, ...] = ()
    secrets: tuple[ObjectChange, ...] = ()
    objects: tuple[ObjectChange, ...] = ()
    ignored: int = 0
    """Objects whose `spec.issuer` names another installation."""
    locations: Mapping[Ref, Location] = field(default_factory=dict)
    """File and line of each object that the manifests declare."""
