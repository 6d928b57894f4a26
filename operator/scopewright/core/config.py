"""The platform's configuration: one file, which the operator reads. Issuers get theirs from the issuer record."""

import re
from datetime import timedelta
from typing import Annotated, Any, Final, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo, model_validator
from pydantic.alias_generators import to_camel

from scopewright.api.names import EVERY_NAMESPACE, HOST, Label, namespace_pattern
from scopewright.api.redirect_uris import LOOPBACK_HOSTS
from scopewright.api.times import parse_duration
from scopewright.core.clusters import ClusterConfig
from scopewright.core.gateway_config import GatewayPolicy
from scopewright.core.profile import FAPI2_ALGORITHMS, FAPI2_CLOCK_SKEW, FAPI2_MAX_TOKEN_LIFETIME, Profile, allows
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import LOCAL_CLUSTER
from scopewright.origins import is_loopback
from scopewright.verifier.issuer_url import check_issuer_url

API_SERVER_AUDIENCES: Final = (
    "https://kubernetes.default.svc",
    "https://kubernetes.default.svc.cluster.local",
    "https://kubernetes.default",
)


def issuer_url(value: str, *, allow_http: bool = False) -> str:
    """Validate the issuer's URL (RFC 8414 §2) by the rules of verifiers, without a trailing slash.

    `allow_http` is for `scopewright dev`, which has its own rule for http.
    """
    check_issuer_url(value)
    if not allow_http and is_plain_http(value):
        raise ValueError("the issuer must be an https URL; http is allowed for loopback only")
    if value.endswith("/"):
        raise ValueError("the issuer URL must not have a trailing slash")
    return value


def is_plain_http(url: str) -> bool:
    """Whether it is an http URL of another host than loopback."""
    parts = urlsplit(url)
    return parts.scheme == "http" and not is_loopback(parts.hostname or "")


def _configured_issuer(value: str, info: ValidationInfo) -> str:
    return issuer_url(value, allow_http=bool(info.context and info.context.get("allow_http")))


Duration = Annotated[timedelta, BeforeValidator(lambda v: parse_duration(v) if isinstance(v, str) else v)]


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class AudiencePrefix(_Model):
    """ResourceServers of these namespaces may claim audiences under `prefix`."""

    prefix: str
    namespaces: tuple[str, ...] = Field(min_length=1)


class Dpop(_Model):
    """DPoP proofs at the token endpoint (RFC 9449)."""

    nonce: Literal["Required", "Optional"] = "Required"
    """`Required` prevents proofs made in advance. It costs a new client one more round trip."""
    algorithms: tuple[Literal["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"], ...] = ()
    """Accepted signature algorithms of proofs. Defaults to all; with profile FAPI2, to those that it allows."""


_QUANTITY: Final = re.compile(r"([0-9]{1,15})(Ki|Mi|Gi)?")
_QUANTITY_UNITS: Final = {None: 1, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}


def parse_quantity(text: str) -> int | None:
    """Return the number of bytes of a Kubernetes quantity such as 4194304 or 4Mi; None if it is not one."""
    match = _QUANTITY.fullmatch(text)
    return int(match[1]) * _QUANTITY_UNITS[match[2]] if match else None


def _quantity(value: Any) -> Any:
    """Read a Kubernetes quantity; leave any other value to the model's own validation."""
    number = parse_quantity(value) if isinstance(value, str) else None
    return value if number is None else number


class Limits(_Model):
    """Limits of one namespace's objects, which operator and issuers keep in memory."""

    objects_per_namespace: Annotated[int, Field(ge=1)] = 2000
    """Objects of each kind. The oldest are served; the others are not Ready, reason NamespaceLimit."""
    bytes_per_namespace: Annotated[int, BeforeValidator(_quantity), Field(ge=1024)] = 4 * 2**20
    """Total size of the specs of each kind, as JSON without unset fields."""


LEASE_MARGIN: Final = timedelta(seconds=2)
"""Time between the last write of a leader and the first of the next one."""


class LeaseTimes(_Model):
    """Leader election of the operator's replicas. The defaults suit an API server that answers within 2 s."""

    duration: Duration = timedelta(seconds=8)
    """How long a standby waits for a leader that does not renew, in whole seconds, as in a Lease."""
    renew_deadline: Duration = timedelta(seconds=5)
    """How long the leader writes after its last renewal."""
    retry_period: Duration = timedelta(seconds=1)
    """Time between renewals, and between attempts of a standby, plus up to a fifth at random."""

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
    """Rate limit of the operator's requests to the API server, except watches and Lease renewals."""

    qps: float = Field(default=0, ge=0, le=10_000, allow_inf_nan=False)
    """Requests per second. 0 is no limit: API Priority and Fairness on the API server then limits them."""
    burst: int = Field(default=0, ge=0, le=100_000)
    """Requests that may be sent at once after a pause."""

    @model_validator(mode="after")
    def _both_or_none(self) -> "KubeApi":
        if bool(self.qps) is not bool(self.burst):
            raise ValueError("qps and burst must both be set, or both be 0 for no limit")
        return self


_HOST_PATTERN: Final = re.compile(rf"([*][.])?{HOST}|\[::1\]")


def _host_pattern(value: str) -> str:
    if not _HOST_PATTERN.fullmatch(value):
        raise ValueError(
            f"{value!r} is not a host: write hr.example, or *.hr.example for all hosts below it, in lower case, "
            "without scheme, port and path"
        )
    return value


class Applications(_Model):
    """Where applications of these namespaces may send users after a login, and whether they may skip the consent."""

    namespaces: tuple[Annotated[str, AfterValidator(namespace_pattern)], ...] = Field(min_length=1)
    """Names of namespaces; `*` is every namespace."""
    hosts: tuple[Annotated[str, AfterValidator(_host_pattern)], ...] = Field(min_length=1)
    """Hosts of redirect URIs. `*.hr.example` is every host below hr.example, at any depth, and not hr.example itself. A
    private-use scheme is a domain in reverse order: com.example.hr needs the host hr.example.com."""
    consent: Literal["Required", "Skippable"] = "Required"

    def covers(self, namespace: str, host: str) -> bool:
        return self.has(namespace) and any(_is_host(host, pattern) for pattern in self.hosts)

    def has(self, namespace: str) -> bool:
        return namespace in self.namespaces or EVERY_NAMESPACE in self.namespaces


def _is_host(host: str, pattern: str) -> bool:
    return host.endswith(pattern[1:]) if pattern.startswith("*.") else host == pattern


class SessionLimits(_Model):
    """How long users stay logged in at the issuer."""

    idle_timeout: Duration = timedelta(hours=1)
    """Time without a login at any application after which the issuer asks who the user is again."""
    max_lifetime: Duration = timedelta(hours=12)
    """Time after which a session ends, and with it refresh tokens without the scope offline_access."""

    @model_validator(mode="after")
    def _in_order(self) -> "SessionLimits":
        if not timedelta(minutes=1) <= self.idle_timeout <= self.max_lifetime <= timedelta(days=30):
            raise ValueError("idleTimeout must be at least 1m and at most maxLifetime, and maxLifetime at most 720h")
        return self


class UserSettings(_Model):
    """Login of users. Teams choose neither where users are sent nor whether users are asked: the platform does."""

    applications: tuple[Applications, ...] = ()
    """Without an entry, the clients of a namespace may register loopback URIs with method None, and nothing else."""
    sessions: SessionLimits = SessionLimits()

    def allows_host(self, namespace: str, host: str) -> bool:
        return any(entry.covers(namespace, host) for entry in self.applications)

    def allows_skipping(self, namespace: str, host: str) -> bool:
        return any(e.consent == "Skippable" and e.covers(namespace, host) for e in self.applications)

    def hosts_of(self, namespace: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys(host for e in self.applications if e.has(namespace) for host in e.hosts))


class Config(_Model):
    """All settings of a platform team, except listening addresses."""

    issuer: Annotated[str, AfterValidator(_configured_issuer)]
    name: Label = "default"
    """Name of this installation. Objects whose `spec.issuer` is another name are ignored."""
    namespace: str = "scopewright-system"
    audiences: tuple[AudiencePrefix, ...] = ()
    reserved_audiences: tuple[str, ...] = API_SERVER_AUDIENCES
    """Audiences of API servers. No ResourceServer may claim one, and no ServiceAccount token with one authenticates."""
    clusters: tuple[ClusterConfig, ...] = (ClusterConfig(name=LOCAL_CLUSTER),)
    """Clusters whose ServiceAccount tokens authenticate clients."""
    max_token_lifetime: Duration = timedelta(hours=1)
    clock_skew: Duration = timedelta(seconds=60)
    jwks_max_age: Duration = timedelta(seconds=300)
    replica_lag: Duration = timedelta(minutes=10)
    """The longest that an issuer replica may lag behind and still know each key before another signs with it."""
    outage_budget: Duration = timedelta(days=7)
    """How long issuers still sign after a rotation that is overdue."""
    unused_after: Duration = timedelta(days=90)
    """How long a client requests no token before its status reports it as unused."""
    resync: Duration = timedelta(seconds=60)
    workers: int = Field(default=24, ge=1, le=256)
    """Objects that the operator reconciles at the same time."""
    lease: LeaseTimes = LeaseTimes()
    kube_api: KubeApi = KubeApi()
    watch_namespaces: tuple[str, ...] = ()
    """Namespaces to watch, beside `namespace`. Defaults to all. If set, the operator needs rights in these namespaces
    only, and grants by namespaceSelector have no effect: it may not list Namespaces and does not know their labels."""
    limits: Limits = Limits()
    dpop: Dpop = Dpop()
    users: UserSettings = UserSettings()
    gateway: GatewayPolicy = GatewayPolicy()
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
        if taken := [e.hostname for e in self.gateway.hostnames if e.hostname in self.reserved_hostnames]:
            raise ValueError(
                f"gateway.hostnames has {taken[0]}, the host of the issuer or of an API server, which no namespace may "
                "use: remove the entry"
            )
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
    def watch_targets(self) -> tuple[str | None, ...]:
        """The namespaces to watch; None stands for all of them in one watch."""
        return tuple(sorted({self.namespace, *self.watch_namespaces})) if self.watch_namespaces else (None,)

    @property
    def min_lead_time(self) -> timedelta:
        """Time before a key signs, beside `publishAhead`: for verifiers' caches of the JWKS and the slowest replica."""
        return self.jwks_max_age + self.replica_lag

    @property
    def reserved_hostnames(self) -> frozenset[str]:
        """Hosts of the issuer and of API servers: whatever is there decides about tokens, and not a team's rules. A
        gateway does not know ports, and so an issuer on loopback reserves nothing.
        """
        hosts = {urlsplit(url).hostname or "" for url in (self.issuer, *self.reserved_audiences) if "://" in url}
        return frozenset(host for host in hosts if host and not is_loopback(host))

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
            session_idle_timeout=int(self.users.sessions.idle_timeout.total_seconds()),
            session_max_lifetime=int(self.users.sessions.max_lifetime.total_seconds()),
        )

    def for_dev(self) -> "Config":
        """Return the configuration of `scopewright dev`: the applications of every namespace may run on this machine,
        with a client secret too, and may skip the consent. Every namespace may use any hostname that nothing assigns.
        """
        local = Applications(namespaces=(EVERY_NAMESPACE,), hosts=LOOPBACK_HOSTS, consent="Skippable")
        users = self.users.model_copy(update={"applications": (*self.users.applications, local)})
        return self.model_copy(update={"users": users, "gateway": self.gateway.with_any_hostname()})
