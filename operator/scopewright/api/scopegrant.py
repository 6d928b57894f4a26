"""ScopeGrant: scopes of an API that its owner grants to clients of other namespaces."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
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
from scopewright.api.rules import Rule, timestamp_rule
from scopewright.api.times import Timestamp


class MatchExpression(Model):
    """One requirement on the labels of a namespace."""

    RULES = (
        Rule(
            "expression-needs-values",
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn require values; list at least one, or use Exists or DoesNotExist",
            "values",
        ),
        Rule(
            "expression-takes-no-values",
            "self.operator in ['In', 'NotIn'] || !has(self.values) || size(self.values) == 0",
            "operators Exists and DoesNotExist do not allow values; remove values, or use In or NotIn",
            "values",
        ),
    )

    key: LabelKey
    """Label key that the requirement applies to."""
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    """Relation of the label to `values`: In, NotIn, Exists or DoesNotExist."""
    values: LabelValues | None = None
    """Label values. Required for In and NotIn, not allowed for Exists and DoesNotExist. Defaults to none."""


class NamespaceSelector(Model):
    """Selection of namespaces by their labels. All requirements must be met."""

    RULES = (
        Rule(
            "selector-not-empty",
            "(has(self.matchLabels) && size(self.matchLabels) > 0)"
            " || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "namespaceSelector is empty; set matchLabels or matchExpressions, or write allNamespaces: true to select "
            "every namespace",
        ),
        Rule(
            "selector-keys-are-label-keys",
            f"!has(self.matchLabels) || self.matchLabels.all(k, size(k) <= 253 && k.matches('{LABEL_KEY}'))",
            "matchLabels has a key that is not a valid label key; write it as 'team' or 'example.com/team'",
            "matchLabels",
        ),
    )

    match_labels: Annotated[dict[str, LabelValue], Field(max_length=MAX_ITEMS)] | None = None
    """Labels that the namespace must have, with exactly these values. Defaults to none."""
    match_expressions: Annotated[list[MatchExpression], Field(max_length=MAX_ITEMS)] | None = None
    """Further requirements on the labels of the namespace. Defaults to none."""


class Grantee(Model):
    """Clients that the scopes are granted to, by exactly one of namespace, namespaceSelector and allNamespaces."""

    RULES = (
        Rule(
            "grantee-has-exactly-one",
            "[has(self.__namespace__), has(self.namespaceSelector), has(self.allNamespaces)].exists_one(x, x)",
            "each entry of `to` must have exactly one of namespace, namespaceSelector and allNamespaces; "
            "write a separate entry for each",
        ),
        Rule(
            "grantee-client-needs-namespace",
            "!has(self.client) || has(self.__namespace__)",
            "client requires namespace: an OAuthClient is identified by both; set namespace too, or remove client",
            "client",
        ),
        Rule(
            "grantee-all-namespaces-is-true",
            "!has(self.allNamespaces) || self.allNamespaces",
            "allNamespaces must be true; to grant nothing, remove this entry",
            "allNamespaces",
        ),
    )

    namespace: Label | None = None
    """Namespace whose OAuthClients are granted the scopes. Defaults to none."""
    client: Label | None = None
    """Name of the OAuthClient in `namespace` that is granted the scopes. Defaults to all in the namespace."""
    namespace_selector: NamespaceSelector | None = None
    """Labels of the namespaces whose OAuthClients are granted the scopes. Every user who can label a namespace can add
    it to the selection. Defaults to none."""
    all_namespaces: bool | None = None
    """Whether the OAuthClients of all namespaces are granted the scopes; true is the only value. Defaults to none."""


_SELECTOR = "t.namespaceSelector"
_REQUIREMENTS = (
    f"(has({_SELECTOR}.matchLabels) ? size({_SELECTOR}.matchLabels) : 0)"
    f" + (has({_SELECTOR}.matchExpressions)"
    f" ? {_SELECTOR}.matchExpressions.map(e, 1 + (has(e.values) ? size(e.values) : 0)).sum() : 0)"
)


class ScopeGrantSpec(Spec):
    """Desired state of the grant, declared by the owner of the API."""

    RULES = (
        *Spec.RULES,
        timestamp_rule("expirationTime"),
        Rule(
            "selectors-are-bounded",
            f"self.to.map(t, has(t.namespaceSelector) ? {_REQUIREMENTS} : 0).sum() <= {MAX_REQUIREMENTS}",
            f"the namespaceSelectors in `to` have more than {MAX_REQUIREMENTS} labels, expressions and values in all; "
            "add one common label to the namespaces and select it, or use several ScopeGrants",
            "to",
        ),
    )

    resource_server: Label
    """Name of the ResourceServer, in the namespace of the ScopeGrant. Scopes of other namespaces cannot be granted."""
    scopes: Annotated[ScopeNames, Field(min_length=1)]
    """Granted scopes, from those that the ResourceServer declares."""
    to: Annotated[list[Grantee], Field(min_length=1, max_length=MAX_ITEMS)]
    """Clients that the scopes are granted to. Clients in the namespace of the ResourceServer do not need a grant."""
    expiration_time: Timestamp | None = None
    """Time at which the grant expires, even if the operator is not running. Defaults to none: the grant ends when the
    object is deleted."""


class ScopeGrantStatus(Status):
    """Observed state of the grant. Written by the operator only."""

    granted_to: int | None = None
    """Number of OAuthClients that have scopes by this grant. Not set before the first count."""


class ScopeGrant(Kind):
    """ScopeGrant grants scopes of a ResourceServer in the same namespace to OAuthClients in other namespaces. Deleting
    it ends the access within seconds."""

    KIND = "ScopeGrant"
    PLURAL = "scopegrants"
    SINGULAR = "scopegrant"
    SHORT_NAMES = ("swg",)
    COLUMNS = (
        *READY_COLUMNS,
        Column("Resource Server", ".spec.resourceServer", "ResourceServer whose scopes are granted."),
        Column(
            "Granted To", ".status.grantedTo", "Number of OAuthClients that have scopes by this grant.", type="integer"
        ),
        Column("Expires", ".spec.expirationTime", "Time at which the grant expires."),
        AGE_COLUMN,
    )
    SELECTABLE = (*Kind.SELECTABLE, ".spec.resourceServer")

    kind: Annotated[Literal["ScopeGrant"], WithJsonSchema({"type": "string"})] = "ScopeGrant"
    """Kind of the object: ScopeGrant."""
    spec: ScopeGrantSpec
    """Desired state of the grant."""
    status: Annotated[ScopeGrantStatus | None, Field(json_schema_extra={"default": PENDING_STATUS})] = None
    """Observed state of the grant. Written by the operator only."""
