"""Inputs of the plan for one IdentityProvider."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

from scopewright.api import IdentityProvider
from scopewright.core.config import Config
from scopewright.core.failed_writes import FailedWrite
from scopewright.core.failures import Rejected
from scopewright.core.objects import Existing, Ref
from scopewright.core.plan import Event
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import identity_provider_record_name


@dataclass(frozen=True, slots=True)
class ReferencedObject:
    """A Secret or ConfigMap that an IdentityProvider names, as it was just read."""

    existing: Existing
    entries: Mapping[str, bytes] = field(repr=False)


Referenced = Mapping[Ref, ReferencedObject | Rejected | None]
"""By reference: the object, None if it does not exist, or why the operator may not read it."""


@dataclass(frozen=True, slots=True)
class StoredProvider:
    """The record of an IdentityProvider, and the Secret that has it."""

    record: IdentityProviderRecord
    existing: Existing


@dataclass(frozen=True, slots=True)
class CheckTarget:
    """What a check of an OpenID provider depends on. `ca_certificates` is PEM; empty: those of the system."""

    issuer_url: str
    ca_certificates: str
    algorithms: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The last check of a provider. `reason` is a `scopewright.upstream.FailureReason`, empty if it succeeded."""

    target: CheckTarget
    reason: str = ""
    message: str = ""


@dataclass(frozen=True, slots=True)
class ProviderView:
    """All inputs of the plan for one identity provider."""

    provider: IdentityProvider
    record: IdentityProviderRecord | None
    record_object: Existing | None
    others: tuple[StoredProvider, ...]
    """The records of all other providers, also of those whose object is being deleted."""
    referenced: Referenced
    config: Config
    now: datetime
    check: CheckResult | None = None
    """None: this process has not checked the provider yet."""
    sessions_apart_until: datetime | None = None
    """End of the time in which issuers have different session stores, unless they report it again; None: no report
    says so."""
    allow_loopback: bool = False
    """Whether the provider may be on loopback, with plain HTTP (`scopewright dev`)."""
    events: tuple[Event, ...] = ()
    """Events that no status lists yet."""
    failed_writes: tuple[FailedWrite, ...] = ()
    """Failed writes whose retry is not due yet."""

    @property
    def record_ref(self) -> Ref:
        return Ref("Secret", self.config.namespace, identity_provider_record_name(self.provider.name))

    @property
    def own(self) -> StoredProvider | None:
        """The record with the UID of the object. That of an earlier object of the name is not its own."""
        if self.record is None or self.record_object is None or self.record.uid != self.provider.uid:
            return None
        return StoredProvider(self.record, self.record_object)


def references(provider: IdentityProvider) -> tuple[Ref, ...]:
    """Return the Secrets and ConfigMaps that the object names, all in its own namespace."""
    spec, namespace = provider.spec, provider.namespace
    refs: list[Ref] = []
    if spec.oidc and (secret := spec.oidc.client_authentication.secret_ref):
        refs.append(Ref("Secret", namespace, secret.name))
    if spec.oidc and (ca := spec.oidc.ca_certificate_ref):
        refs.append(Ref(ca.kind, namespace, ca.name))
    if spec.static:
        refs.append(Ref("Secret", namespace, spec.static.users_ref.name))
    return tuple(dict.fromkeys(refs))
