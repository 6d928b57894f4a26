"""ScopeGrant: the owner of an API says who may have which of its scopes."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from scopewright.api.meta import (
    AGE_COLUMN,
    PENDING_STATUS,
    READY_COLUMNS,
    Column,
    Kind,
    Model,
    Spec,
    Status,
    Timestamp,
)
from scopewright.api.names import (
    LABEL_KEY,
    MAX_ITEMS,
    MAX_REQUIREMENTS,
    Label,
    LabelKey,
    LabelValue,
    LabelValues,
    ScopeNames,
)
from scopewright.api.rules import Rule, instant


class MatchExpression(Model):
    """One requirement on a namespace's labels."""

    RULES = (
        Rule(
            "expression-needs-values",
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "operator In and NotIn need values: list at least one, or use Exists or DoesNotExist",
            "values",
        ),
        Rule(
            "expression-takes-no-values",
            "self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
            "operator Exists and DoesNotExist take no values: remove them, or use In or NotIn",
            "values",
        ),
    )

    key: LabelKey
    """Key of the label."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """How the label's value relates to `values`."""
    values: LabelValues | None = None
    """Values for In and NotIn. Left out with Exists and DoesNotExist."""


class NamespaceSelector(Model):
    """Namespaces chosen by their labels; every requirement must hold."""

    RULES = (
        Rule(
            "selector-not-empty",
            "(has(self.matchLabels) && size(self.matchLabels) > 0)"
            " || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "namespaceSelector selects nothing in particular: give matchLabels or matchExpressions, "
            "or write allNamespaces: true if every namespace is meant",
        ),
        Rule(
            "selector-keys-are-label-keys",
            f"!has(self.matchLabels) || self.matchLabels.all(k, size(k) <= 253 && k.matches('{LABEL_KEY}'))",
            "matchLabels has a key that no label can have: write it as 'team' or 'example.com/team'",
            "matchLabels",
        ),
    )

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=MAX_ITEMS)] | None = None
    """Labels that the namespace must have, with exactly these values. Left out: no such requirement."""
    match_expressions: Annotated[list[MatchExpression], Field(max_length=MAX_ITEMS)] | None = None
    """Further requirements on its labels. Left out: none."""


class Grantee(Model):
    """Who gets the scopes: exactly one of namespace, namespaceSelector and allNamespaces."""

    RULES = (
        Rule(
            "grantee-is-one-thing",
            "[has(self.__namespace__), has(self.namespaceSelector), has(self.allNamespaces)].exists_one(x, x)",
            "each entry of to must have exactly one of namespace, namespaceSelector and allNamespaces: "
            "write one entry for each",
        ),
        Rule(
            "grantee-client-needs-namespace",
            "!has(self.client) || has(self.__namespace__)",
            "client needs namespace beside it: an OAuthClient is named by both; write namespace too, or remove client",
            "client",
        ),
        Rule(
            "grantee-all-namespaces-is-true",
            "!has(self.allNamespaces) || self.allNamespaces",
            "allNamespaces can only be true: remove this entry to grant nothing",
            "allNamespaces",
        ),
    )

    namespace: Label | None = None
    """The namespace whose OAuthClients get the scopes. Left out: one of the other two says."""
    client: Label | None = None
    """Name of the one OAuthClient in `namespace` that gets them. Left out: all of that namespace do."""
    namespace_selector: NamespaceSelector | None = None
    """Namespaces whose OAuthClients get the scopes, by their labels. Whoever may label namespaces may join.
    Left out: one of the other two says."""
    all_namespaces: bool | None = None
    """True: the OAuthClients of every namespace get the scopes. Left out: one of the other two says."""


_SELECTOR = "t.namespaceSelector"
_REQUIREMENTS = (
    f"(has({_SELECTOR}.matchLabels) ? size({_SELECTOR}.matchLabels) : 0)"
    f" + (has({_SELECTOR}.matchExpressions)"
    f" ? {_SELECTOR}.matchExpressions.map(e, 1 + (has(e.values) ? size(e.values) : 0)).sum() : 0)"
)


class ScopeGrantSpec(Spec):
    """What the owner of the API grants."""

    RULES = (
        *Spec.RULES,
        instant("expirationTime"),
        Rule(
            "selectors-are-bounded",
            f"self.to.map(t, has(t.namespaceSelector) ? {_REQUIREMENTS} : 0).sum() <= {MAX_REQUIREMENTS}",
            f"the namespaceSelectors of to have more than {MAX_REQUIREMENTS} labels, expressions and values in all: "
            "put a label of its own on the namespaces that are meant, or write several ScopeGrants",
            "to",
        ),
    )

    resource_server: Label
    """Name of the ResourceServer, of this namespace: nobody can grant what another namespace owns."""
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    """The scopes granted, among those that the ResourceServer declares."""
    to: Annotated[list[Grantee], Field(min_length=1, max_length=MAX_ITEMS)]
    """Who gets them. The clients of this namespace need no grant."""
    expiration_time: Timestamp | None = None
    """When the grant ends by itself, even while the operator is down. Left out: only with its deletion."""


class ScopeGrantStatus(Status):
    """What the operator found and did."""

    granted_to: int | None = None
    """How many OAuthClients hold scopes by this grant. Left out: not yet counted."""


class ScopeGrant(Kind):
    """A ScopeGrant gives scopes of a ResourceServer of its own namespace to OAuthClients of other namespaces.
    Deleting it ends the access within seconds."""

    KIND = "ScopeGrant"
    PLURAL = "scopegrants"
    SINGULAR = "scopegrant"
    SHORT_NAMES = ("swg",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Resource Server", ".spec.resourceServer", "The API whose scopes are granted."),
        Column("Granted To", ".status.grantedTo", "How many OAuthClients hold scopes by it.", type="integer"),
        Column("Expires", ".spec.expirationTime", "When the grant ends by itself."),
        AGE_COLUMN,
    )
    SELECTABLE = (*Kind.SELECTABLE, ".spec.resourceServer")

    kind: Annotated[Literal["ScopeGrant"], WithJsonSchema({"type": "string"})] = "ScopeGrant"
    """Kind of the object: ScopeGrant."""
    spec: ScopeGrantSpec
    """What the owner of the API grants."""
    status: Annotated[ScopeGrantStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """What the operator found and did. Written by the operator alone."""
