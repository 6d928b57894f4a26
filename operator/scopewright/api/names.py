"""The forms that names take in manifests."""

from typing import Annotated

from pydantic import Field, StringConstraints

MAX_ITEMS = 64
MAX_SCOPES = 256
"""Scopes that one OAuthClient asks for, over all entries of `access`."""
MAX_REQUIREMENTS = 256
"""Labels, expressions and values of the namespace selectors of one ScopeGrant, together."""

# No backslashes: CEL reads the same texts within quotes, where they would be escapes.
_LABEL = "[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_SUBDOMAIN = f"{_LABEL}([.]{_LABEL})*"
DNS_LABEL = f"^{_LABEL}$"
DNS_SUBDOMAIN = f"^{_SUBDOMAIN}$"
HOST = _SUBDOMAIN
LABEL_VALUE = "^([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?$"
LABEL_KEY = f"^({_SUBDOMAIN}/)?[A-Za-z0-9]([-A-Za-z0-9_.]{{0,61}}[A-Za-z0-9])?$"

Label = Annotated[str, StringConstraints(pattern=DNS_LABEL, max_length=63)]
"""A name of one of our objects or of a namespace."""

Subdomain = Annotated[str, StringConstraints(pattern=DNS_SUBDOMAIN, max_length=253)]
"""A name of a Secret, a ConfigMap or a ServiceAccount."""

LabelKey = Annotated[str, StringConstraints(pattern=LABEL_KEY, max_length=253)]
LabelValue = Annotated[str, StringConstraints(pattern=LABEL_VALUE, max_length=63)]

ScopeName = Annotated[str, StringConstraints(pattern=r"^[!#-\[\]-~]+$", max_length=128)]
"""A scope-token of RFC 6749 §3.3: printable ASCII without space, quote and backslash."""

_SET = Field(max_length=MAX_ITEMS, json_schema_extra={"x-kubernetes-list-type": "set"})
Labels = Annotated[list[Label], _SET]
LabelValues = Annotated[list[LabelValue], _SET]
ScopeNames = Annotated[list[ScopeName], _SET]
