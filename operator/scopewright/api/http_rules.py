"""spec.http of a ResourceServer: the hostnames of the API, and which method and path needs which token.

The rules here need one object alone. `verifier.rules` compares the rules of an API with each other.
"""

import re
from typing import Annotated, Final, Literal

from pydantic import Field, StringConstraints

from scopewright.api.meta import Model
from scopewright.api.names import MAX_ITEMS, Label, ScopeNames
from scopewright.api.rules import CelRule
from scopewright.verifier.rules import MAX_ALL_PATHS, MAX_PATHS, MAX_SEGMENTS

MAX_HOSTNAMES: Final = 16
MAX_HOSTNAME_LENGTH: Final = 253
MAX_METHODS: Final = 16
MAX_PATH_LENGTH: Final = 512

_LITERAL: Final = "[!$&'()+,.0-9:=@A-Z_a-z~-]"
"""One character of a literal segment, as in `verifier.patterns`."""
_HOST_LABEL: Final = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_HOSTNAME: Final = f"^{_HOST_LABEL}([.]{_HOST_LABEL})*$"
_ADDRESS: Final = "(^|[.])([0-9]+|0x[0-9a-f]*)$"
"""A name whose last label is a number is an IPv4 address to some clients, such as browsers."""
_DOT_SEGMENT: Final = "/[.][.]?(/|$)"
_NEEDS_A_TOKEN: Final = " || ".join(
    f"(has(self.{field}) && size(self.{field}) > 0)" for field in ("scopes", "anyScope", "roles")
)

PathAuthentication = Literal["Required", "Optional", "None"]
Hostname = Annotated[str, StringConstraints(max_length=MAX_HOSTNAME_LENGTH)]
Path = Annotated[str, StringConstraints(max_length=MAX_PATH_LENGTH)]
HttpMethod = Annotated[str, StringConstraints(max_length=32)]


def is_hostname(text: str) -> bool:
    """Whether it is a DNS name in lower case (RFC 1123 §2.1), as `hostnames` allows it and gateways compare it."""
    if len(text) > MAX_HOSTNAME_LENGTH or text.endswith("\n"):
        return False
    return re.search(_HOSTNAME, text) is not None and re.search(_ADDRESS, text) is None


def _each(field: str, name: str, condition: str, message: str) -> CelRule:
    """A rule for each text `t` of the list `field`."""
    return CelRule(
        f"{field}-{name}", f"!has(self.{field}) || self.{field}.all(t, {condition})", f"{field} {message}", field
    )


class HttpRequestRule(Model):
    """What requests with some methods and paths need. Of the patterns that match a path, the most specific decides."""

    RULES = (
        _each(
            "paths",
            "begin-with-a-slash",
            't.startsWith("/")',
            "has a pattern that does not begin with a slash; write it like /salaries/**",
        ),
        _each(
            "paths",
            "have-pattern-characters",
            f't.matches("^({_LITERAL}|[*/])*$")',
            "has a character that patterns cannot have, such as '%', ';', '{' or a letter that is not ASCII; write * "
            "for a segment with such characters",
        ),
        _each(
            "paths",
            "have-whole-wildcards",
            '!t.matches("[^/*][*]|[*][^/*]|[*][*][*]")',
            "has a wildcard that is only a part of a segment; write * for one whole segment, or ** as the last segment",
        ),
        _each(
            "paths",
            "end-with-double-wildcard",
            '!t.matches("[*][*]/.")',
            "has ** before the last segment; write * there for each segment, and ** only at the end",
        ),
        _each(
            "paths",
            "are-canonical",
            f'!t.contains("//") && !t.matches("{_DOT_SEGMENT}")',
            "has an empty, '.' or '..' segment, and requests with one are refused; remove the segment",
        ),
        _each(
            "paths",
            "are-not-too-deep",
            f't.matches("^(/[^/]*){{0,{MAX_SEGMENTS}}}/?$") || !t.startsWith("/")',
            f"has a pattern with more than {MAX_SEGMENTS} segments; end it with /**",
        ),
        _each(
            "methods",
            "are-in-upper-case",
            't.matches("^[A-Z]+$")',
            "must be in upper case, as in requests; write GET, or omit methods for every method",
        ),
        CelRule(
            "rule-states-what-it-needs",
            f"has(self.authentication) || {_NEEDS_A_TOKEN}",
            "authentication is required in a rule without scopes, anyScope and roles; set it to Required for any valid "
            "token, or to None for everyone",
            "authentication",
        ),
        CelRule(
            "rule-without-token-needs-nothing",
            f"!has(self.authentication) || self.authentication == 'Required' || !({_NEEDS_A_TOKEN})",
            "authentication Optional or None is not allowed with scopes, anyScope or roles, because a request without "
            "a token has none; set it to Required, or remove them",
            "authentication",
        ),
    )

    name: Label
    """Name of the rule, in metrics, logs and messages."""
    paths: Annotated[
        list[Path],
        Field(min_length=1, max_length=MAX_PATHS, json_schema_extra={"x-kubernetes-list-type": "set"}),
    ]
    """Patterns of the paths, relative to basePath: literal segments, * for exactly one segment and, as the last segment
    only, ** for any number of them, such as /salaries/**. A slash at the end has no meaning."""
    methods: (
        Annotated[
            list[HttpMethod],
            Field(min_length=1, max_length=MAX_METHODS, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Methods of the requests, such as GET, which covers HEAD. No other method is implied, OPTIONS included. A method
    that no rule with the deciding pattern covers is refused. Defaults to every method."""
    authentication: PathAuthentication | None = None
    """Whether a request needs a token. Required: a valid token. Optional: no token, or a valid one. None: a token is
    ignored. Must be set in a rule without scopes, anyScope and roles; Optional and None are not allowed with them.
    Defaults to Required."""
    scopes: ScopeNames = Field(default_factory=list)
    """Scopes of this API that the token must have, all of them. Defaults to none."""
    any_scope: ScopeNames = Field(default_factory=list)
    """Scopes of this API of which the token must have at least one. Defaults to none."""
    roles: ScopeNames = Field(default_factory=list)
    """Roles of this API of which the token must have at least one. Defaults to none."""


class HttpRules(Model):
    """The hostnames of an API, and the rules for its requests. Gateways and middleware refuse a request without a
    rule."""

    RULES = (
        _each(
            "hostnames",
            "are-dns-names",
            f't.matches("{_HOSTNAME}")',
            "must be DNS names in lower case, without scheme, port, wildcard or dot at the end; write it like "
            "payroll.hr.example",
        ),
        _each(
            "hostnames",
            "are-not-addresses",
            f'!t.matches("{_ADDRESS}")',
            "must not be IP addresses; write the DNS name that clients use",
        ),
        CelRule(
            "base-path-is-literal",
            f'!has(self.basePath) || self.basePath == "/" || (self.basePath.matches("^(/{_LITERAL}+)+$")'
            f' && !self.basePath.matches("{_DOT_SEGMENT}"))',
            "basePath must be / or a path of literal segments, without a wildcard, escape, empty or dot segment, and "
            "without a slash at the end; write it like /payroll",
            "basePath",
        ),
        CelRule(
            "rules-have-bounded-paths",
            f"!has(self.rules) || self.rules.map(r, size(r.paths)).sum() <= {MAX_ALL_PATHS}",
            f"rules have more than {MAX_ALL_PATHS} paths in total; write * and ** for several of them",
            "rules",
        ),
    )

    hostnames: (
        Annotated[
            list[Hostname],
            Field(min_length=1, max_length=MAX_HOSTNAMES, json_schema_extra={"x-kubernetes-list-type": "set"}),
        ]
        | None
    ) = None
    """Hostnames at which gateways serve the API, without port. The platform decides which ones the namespace may use.
    Defaults to the host of the audience."""
    base_path: Path | None = None
    """Path of the API at its hostnames; paths of rules are relative to it. Defaults to the path of the audience, or
    to /."""
    case_sensitive: bool = True
    """Whether the service distinguishes upper case and lower case in paths. Defaults to true. Set it to false for
    services that do not, such as those of ASP.NET Core; otherwise a path in another case is not protected by its
    rule."""
    rules: Annotated[
        list[HttpRequestRule],
        Field(
            max_length=MAX_ITEMS,
            json_schema_extra={"x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"]},
        ),
    ] = Field(default_factory=list)
    """Rules for requests. Their order has no meaning. Two rules must not have one pattern for the same method. Defaults
    to none: every request is refused."""


class HttpStatus(Model):
    """Hostnames and unauthenticated paths in force."""

    hostnames: Annotated[list[Hostname], Field(max_length=MAX_HOSTNAMES)] = Field(default_factory=list)
    """Hostnames at which gateways serve the API."""
    unauthenticated: Annotated[list[Annotated[str, Field(max_length=2048)]], Field(max_length=MAX_ALL_PATHS)] = Field(
        default_factory=list
    )
    """Methods and paths that need no token, such as "* /healthz", where * stands for every method. Paths begin with
    basePath."""
