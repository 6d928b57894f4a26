"""Types and patterns for the names in manifests."""

import re
from typing import Annotated

from pydantic import Field, StringConstraints

MAX_ITEMS = 64
MAX_SCOPES = 256
"""Maximum number of scopes that one OAuthClient requests, over all entries of `access`."""
MAX_USER_GRANTS = 16
"""Maximum number of entries in `toUsers` of one ScopeGrant: each repeats its scopes in the issuer's record."""
MAX_REQUIREMENTS = 256
"""Maximum number of labels, expressions and values in the namespace selectors of one ScopeGrant, in total."""

# No backslashes: the patterns also appear in CEL string literals, where a backslash begins an escape sequence.
LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = f"{LABEL}([.]{LABEL})*"
DNS_LABEL = f"^{LABEL}$"
DNS_SUBDOMAIN = f"^{_SUBDOMAIN}$"
HOST = _SUBDOMAIN
EVERY_NAMESPACE = "*"
LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LABEL_KEY = f"^({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"


def is_label(text: str) -> bool:
    """Whether it is an RFC 1123 label, such as the name of a namespace."""
    return len(text) <= 63 and re.fullmatch(DNS_LABEL, text) is not None


def namespace_pattern(value: str) -> str:
    """Return the name of a namespace, or EVERY_NAMESPACE; `ValueError` for anything else, with what to write."""
    if value != EVERY_NAMESPACE and not is_label(value):
        raise ValueError(f"{value!r} is not a namespace: write its name, or '*' for every namespace")
    return value


Label = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
"""Name of a Scopewright object or of a namespace (RFC 1123 label)."""

Subdomain = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, max_length=253)]
"""Name of a Secret, ConfigMap or ServiceAccount (RFC 1123 subdomain)."""

LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, max_length=253)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]

ScopeName = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]+$", max_length=128)]
"""A scope-token (RFC 6749 §3.3): printable ASCII without space, double quote and backslash."""

GroupName = Annotated[str, StringConstraints(pattern=r"^[^\x00-\x1f\x7f]+$", max_length=256)]
"""Name of a group of users, as the identity provider says it, without control characters. Compared byte for byte."""

Subject = Annotated[str, StringConstraints(pattern="^u-[a-z2-7]{26}$", max_length=28)]
"""Subject of a user: `sub` of the user's tokens at this issuer."""

_SET_FIELD = Field(max_length=MAX_ITEMS, json_schema_extra={"x-kubernetes-list-type": "set"})
Labels = Annotated[list[Label], _SET_FIELD]
LabelValues = Annotated[list[LabelValue], _SET_FIELD]
ScopeNames = Annotated[list[ScopeName], _SET_FIELD]
GroupNames = Annotated[list[GroupName], _SET_FIELD]
Subjects = Annotated[list[Subject], _SET_FIELD]
