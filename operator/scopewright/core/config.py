"""The platform's configuration: one file, read by the operator, and through the issuer record by the issuers."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic.alias_generators import to_camel

from scopewright.api.meta import parse_duration
from scopewright.api.names import Label
from scopewright.core.clusters import ClusterConfig
from scopewright.core.profile import (
    FAPI2_ALGORITHMS,
    FAPI2_CLOCK_SKEW,
    FAPI2_MAX_TOKEN_LIFETIME,
    Profile,
    allows,
)
from scopewright.core.records import LOCAL_CLUSTER, IssuerRecord
from scopewright.origins import is_loopback
from scopewright.verifier.issuer_url import check_issuer_url

API_SERVER_AUDIENCES: Final = (
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.default",
)


def issuer_url(value: str) -> str:
    """The issuer's URL (RFC 8414 §2), unchanged: what verifiers accept, without a closing slash."""
    check_issuer_url(value)
    parts = urlsplit(value)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        raise ValueError("the issuer must be an https URL; http is for loopback only")
    if value.endswith("/"):
        raise ValueError("the issuer URL must have no closing slash")
    return value


def _duration(value: Any) -> Any:
    return parse_duration(value) if isinstance(value, str) else value


Duration = Annotated[timedelta, BeforeValidator(_duration)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class AudiencePrefix(_Model):
    """Audiences of their own choosing under `prefix` may be claimed by ResourceServers of these namespaces."""

    prefix: str
    namespaces: tuple[str, ...] = Field(min_length=1)


class Dpop(_Model):
    """How the token endpoint takes DPoP proofs (RFC 9449)."""

    nonce: Literal["Required", "Optional"] = "Required"
    """`Required` keeps proofs from being made in advance, for one more round trip of a client that is new."""
    algorithms: tuple[Literal["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"], ...] = ()
    """Signatures of proofs that are accepted. Defaults to all of these; with profile FAPI2, to those that it allows."""


_QUANTITY: Final = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi)?")
_UNITS: Final = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def _bytes(value: Any) -> Any:
    """A number of bytes, as Kubernetes writes one: 4194304 or 4Mi."""
    found = _QUANTITY.fullmatch(value) if isinstance(value, str) else None
    return int(found[1]) * _UNITS[found[2]] if found else value


class Limits(_Model):
    """What the objects of one namespace may take up of the operator's and the issuers' memory."""

    objects_per_namespace: Annotated[int, Field(ge=1)] = 2000
    """Of each kind. The oldest are served; the others are not Ready, reason NamespaceLimit."""
    bytes_per_namespace: Annotated[int, BeforeValidator(_bytes), Field(ge=1024)] = 4 * 2**20
    """Of the specs of each kind, as JSON without unset fields."""


LEASE_MARGIN: Final = timedelta(seconds=2)
"""Between the end of a leader's writes and the first of the next one."""


class LeaseTimes(_Model):
    """Of the Lease by which one replica of the operator leads. The defaults suit an API server that answers in 2 s."""

    duration: Duration = timedelta(seconds=8)
    """How long a standby waits for a leader that does not renew; whole seconds, as a Lease has them."""
    renew_deadline: Duration = timedelta(seconds=5)
    """How long after its last renewal the leader goes on writing."""
    retry_period: Duration = timedelta(seconds=1)
    """Between renewals, and between attempts of a standby; up to a fifth longer, at random."""

    @model_validator(mode="after")
    def _in_order(self) -> "LeaseTimes":
        if not timedelta(seconds=3) <= self.duration <= timedelta(seconds=30) or self.duration.microseconds:
            raise ValueError("duration must be a whole number of seconds between 3s and 30s")
        if self.duration - self.renew_deadline < LEASE_MARGIN:
            raise ValueError(
                "renewDeadline must be at least 2s less than duration: the last requests of a leader that cannot renew "
                "arrive before a standby takes over"
            )
        if not timedelta(milliseconds=100) <= self.retry_period <= self.renew_deadline / 2:
            raise ValueError("retryPeriod must be at least 100ms, and at most half of renewDeadline")
        return self


class KubeApi(_Model):
    """The operator's requests to the API server, beside watches and the renewal of its Lease."""

    qps: float = Field(default=0, ge=0, le=10_000, allow_inf_nan=False)
    """Requests a second; 0 is no limit of our own: API Priority and Fairness shares the API server out."""
    burst: int = Field(default=0, ge=0, le=100_000)
    """Requests at once, after a pause."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "KubeApi":
        if bool(self.qps) is not bool(self.burst):
            raise ValueError("qps and burst must both be set, or both be 0 for no limit")
        return self


class Config(_Model):
    """Everything that a platform team sets, apart from where things listen."""

    issuer: Annotated[str, AfterValidator(issuer_url)]
    name: Label = "default"
    """Objects whose `spec.issuer` is another name are somebody else's."""
    namespace: str = "scopewright-system"
    audiences: tuple[AudiencePrefix, ...] = ()
    reserved_audiences: tuple[str, ...] = API_SERVER_AUDIENCES
    """Audiences of API servers: nobody may claim one, and a ServiceAccount token that has one proves no client."""
    clusters: tuple[ClusterConfig, ...] = (ClusterConfig(name=LOCAL_CLUSTER),)
    """Whose ServiceAccount tokens are taken."""
    max_token_lifetime: Duration = timedelta(hours=1)
    clock_skew: Duration = timedelta(seconds=60)
    jwks_max_age: Duration = timedelta(seconds=300)
    replica_lag: Duration = timedelta(minutes=10)
    """The longest that an issuer replica may lag behind before a key that it does not know would sign."""
    outage_budget: Duration = timedelta(days=7)
    """How long issuers go on signing after a rotation that did not come."""
    unused_after: Duration = timedelta(days=90)
    """How long a client asks for no token until its status says so."""
    resync: Duration = timedelta(seconds=60)
    workers: int = Field(default=24, ge=1, le=256)
    """Objects that the operator reconciles at the same time."""
    lease: LeaseTimes = LeaseTimes()
    kube_api: KubeApi = KubeApi()
    watch_namespaces: tuple[str, ...] = ()
    """Where what is declared counts, beside `namespace`. Left out: everywhere. Else rights are needed there alone, and
    no grant by namespaceSelector has an effect: who may not list Namespaces does not know their labels."""
    limits: Limits = Limits()
    dpop: Dpop = Dpop()
    profile: Profile = "Default"
    """FAPI2 narrows algorithms, client authentication, tokens and lifetimes to the FAPI 2.0 Security Profile."""

    @model_validator(mode="after")
    def _within_reason(self) -> "Config":
        if not timedelta(seconds=1) <= self.resync <= timedelta(minutes=10):
            raise ValueError("resync must be between 1s and 10m: it bounds how long a missed deletion goes unnoticed")
        if self.max_token_lifetime < timedelta(seconds=1):
            raise ValueError("maxTokenLifetime must be at least 1s")
        names = [cluster.name for cluster in self.clusters]
        if len(names) > len(set(names)):
            raise ValueError("clusters names one cluster twice: remove or rename one of the two")
        if self.profile == "FAPI2":
            self._within_fapi2()
        return self

    def _within_fapi2(self) -> None:
        """FAPI 2.0 §5.3.2.1 and §5.4."""
        lowest, highest = FAPI2_CLOCK_SKEW
        if not lowest <= self.clock_skew <= highest:
            raise ValueError("clockSkew must be between 10s and 60s with profile FAPI2")
        if self.max_token_lifetime > FAPI2_MAX_TOKEN_LIFETIME:
            raise ValueError("maxTokenLifetime must be at most 1h with profile FAPI2")
        if wrong := [a for a in self.dpop.algorithms if not allows(self.profile, a)]:
            raise ValueError(
                f"dpop.algorithms has {', '.join(wrong)}: profile FAPI2 allows {', '.join(FAPI2_ALGORITHMS)} alone"
            )

    @property
    def watched(self) -> tuple[str | None, ...]:
        """The namespaces to look into, each by itself; None stands for all at once."""
        return tuple(sorted({self.namespace, *self.watch_namespaces})) if self.watch_namespaces else (None,)

    @property
    def key_lead(self) -> timedelta:
        """What a key waits beside its `publishAhead`: verifiers' caches of the JWKS and the slowest replica."""
        return self.jwks_max_age + self.replica_lag

    def issuer_record(self) -> IssuerRecord:
        return IssuerRecord(
            issuer=self.issuer,
            max_token_lifetime=int(self.max_token_lifetime.total_seconds()),
            clock_skew=int(self.clock_skew.total_seconds()),
            jwks_max_age=int(self.jwks_max_age.total_seconds()),
            dpop_nonce=self.dpop.nonce,
            dpop_algorithms=self.dpop.algorithms,
            profile=self.profile,
            clusters=tuple(cluster.record() for cluster in self.clusters),
            reserved_audiences=self.reserved_audiences,
        )
