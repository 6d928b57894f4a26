"""The platform's configuration of gateways: which namespaces have which hostnames, and what may need no token."""

from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, model_validator
from pydantic.alias_generators import to_camel

from scopewright.api.http_rules import is_hostname
from scopewright.api.names import namespace_pattern
from scopewright.verifier.patterns import PathPattern, literal_segments

SERVICE_SUFFIXES: Final = ("svc", "svc.cluster.local")
"""The names of Services end so. They belong to the namespace in them, whatever the configuration says."""


def namespace_in(hostname: str, suffix: str) -> str:
    """The label before `.<suffix>`, if there is one more label before it; else ""."""
    before, _, namespace = hostname.removesuffix(f".{suffix}").rpartition(".")
    return namespace if before and hostname.endswith(f".{suffix}") else ""


def _path_prefix(value: str) -> str:
    return f"/{'/'.join(literal_segments(value))}"


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)


class HostnameEntry(_Model):
    """Hostnames of namespaces: `hostname` under `pathPrefix` of each of `namespaces`, or all hostnames below
    `<namespace>.<suffix>` of every namespace.
    """

    hostname: str = ""
    path_prefix: Annotated[str, AfterValidator(_path_prefix)] = "/"
    """Whole segments. Of two entries for one hostname, the one with the longer prefix decides."""
    namespaces: tuple[Annotated[str, AfterValidator(namespace_pattern)], ...] = ()
    """Names of namespaces; `*` is every namespace."""
    suffix: str = ""
    per_namespace: bool = False
    """Always true beside `suffix`: a reader of the file sees that namespaces do not share the suffix."""

    @model_validator(mode="after")
    def _one_kind(self) -> Self:
        if bool(self.hostname) is bool(self.suffix):
            raise ValueError(
                "an entry has either hostname or suffix: write {hostname: api.hr.example, namespaces: [payroll]}, or "
                "{suffix: apps.example, perNamespace: true}"
            )
        _require_hostname(self.hostname or self.suffix)
        if self.hostname and not self.namespaces:
            raise ValueError(f"the entry of {self.hostname} has no namespaces: name those that may use it")
        if self.hostname and self.per_namespace:
            raise ValueError(f"the entry of {self.hostname} has perNamespace, which belongs to suffix: remove it")
        if self.suffix and not self.per_namespace:
            raise ValueError(
                f"the entry of {self.suffix} has no perNamespace: write perNamespace: true, and each namespace has the "
                f"hostnames below <namespace>.{self.suffix}"
            )
        if self.suffix and (self.namespaces or self.path_prefix != "/"):
            raise ValueError(
                f"the entry of {self.suffix} has namespaces or pathPrefix, which belong to hostname: remove them"
            )
        return self


def _require_hostname(value: str) -> None:
    if not is_hostname(value):
        raise ValueError(
            f"{value!r} is not a hostname: write one such as api.hr.example, in lower case, without scheme, port, "
            "path and wildcard; an IP address is not one"
        )
    if value.endswith(tuple(f".{suffix}" for suffix in SERVICE_SUFFIXES)) or value in SERVICE_SUFFIXES:
        raise ValueError(f"{value!r} is the name of a Service, which belongs to its namespace: remove the entry")


def _pattern(value: str) -> str:
    return str(PathPattern.parse(value))


class GatewayPolicy(_Model):
    """Hostnames beside those of `audiences`, and what teams may open to requests without a token."""

    hostnames: tuple[HostnameEntry, ...] = ()
    unauthenticated_paths: tuple[Annotated[str, AfterValidator(_pattern)], ...] = ("/**",)
    """Patterns of whole paths, base path included. A rule with authentication None or Optional must be below one. By
    default the owner of the API decides."""

    @property
    def allows_any_hostname(self) -> bool:
        """Whether every namespace may use the hostnames that nothing assigns. No configuration file can say so."""
        return False

    def with_any_hostname(self) -> "GatewayPolicy":
        """The policy of `scopewright dev`, and of a plan without the platform's configuration."""
        return _AnyHostname(hostnames=self.hostnames, unauthenticated_paths=self.unauthenticated_paths)


class _AnyHostname(GatewayPolicy):
    @property
    def allows_any_hostname(self) -> bool:
        return True
