"""ScopeGrant: scopes of an API that its owner grants to clients of other namespaces, and to users through clients."""

from typing import Annotated, Literal

from pydantic import Field, WithJsonSchema

from scopewright.api.meta import AGE_COLUMN, PENDING_STATUS, READY_COLUMNS, Column, Kind, Model, Spec, Status
from scopewright.api.names import (
    LABEL_KEY,
    MAX_ITEMS,
    MAX_REQUIREMENTS,
    MAX_USER_GRANTS,
    GroupNames,
    Label,
    LabelKey,
    LabelValue,
    LabelValues,
    ScopeNames,
    Subjects,
)
from scopewright.api.rules import CelRule, timestamp_rule
from scopewright.api.times import Timestamp


class MatchExpression(Model):
    """One requirement on the labels of a namespace."""

    RULES = (
        CelRule(
            "expression-needs-values",
            "!(self.operator in ['In', 'NotIn']) || (has(self.values) && size(self.values) > 0)",
            "operators In and NotIn require values; list at least one, or use Exists or DoesNotExist",
            "values",
        ),
        CelRule(
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
        CelRule(
            "selector-not-empty",
            "(has(self.matchLabels) && size(self.matchLabels) > 0)"
            " || (has(self.matchExpressions) && size(self.matchExpressions) > 0)",
            "namespaceSelector is empty; set matchLabels or matchExpressions, or write allNamespaces: true to select "
            "every namespace",
        ),
        CelRule(
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


def _selection_rules(prefix: str, what: str, client: str, entry: str) -> tuple[CelRule, ...]:
    """Rules of a ClientSelection, which `what` names in messages and `prefix` in the ids of the rules. `client` is its
    field, and `entry` the entry of the list that it belongs to.
    """
    return (
        CelRule(
            f"{prefix}-has-exactly-one",
            "[has(self.__namespace__), has(self.namespaceSelector), has(self.allNamespaces)].exists_one(x, x)",
            f"{what} must have exactly one of namespace, namespaceSelector and allNamespaces; "
            "write a separate entry for each",
        ),
        CelRule(
            f"{prefix}-client-needs-namespace",
            "!has(self.client) || has(self.__namespace__)",
            f"{client} requires namespace: an OAuthClient is identified by both; set namespace too, or remove client",
            "client",
        ),
        CelRule(
            f"{prefix}-all-namespaces-is-true",
            "!has(self.allNamespaces) || self.allNamespaces",
            f"allNamespaces must be true; to grant nothing, remove {entry}",
            "allNamespaces",
        ),
    )


class ClientSelection(Model):
    """OAuthClients, selected by exactly one of namespace, namespaceSelector and allNamespaces."""

    namespace: Label | None = None
    """Namespace of the OAuthClients. Defaults to none."""
    client: Label | None = None
    """Name of the OAuthClient in `namespace`. Defaults to all in the namespace."""
    namespace_selector: NamespaceSelector | None = None
    """Labels of the namespaces of the OAuthClients. Every user who can label a namespace can add it to the selection.
    Defaults to none."""
    all_namespaces: bool | None = None
    """Whether the OAuthClients of all namespaces are selected; true is the only value. Defaults to none."""


class Grantee(ClientSelection):
    """Clients that are granted the scopes, by exactly one of namespace, namespaceSelector and allNamespaces."""

    RULES = _selection_rules("grantee", "each entry of `to`", "client", "this entry")


class Through(ClientSelection):
    """Clients through which the users have the scopes, by exactly one of namespace, namespaceSelector and
    allNamespaces."""

    RULES = _selection_rules("through", "`through`", "through.client", "the entry of `toUsers`")


class UserGrantee(Model):
    """Users who are granted the scopes, by exactly one of groups, subjects and allUsers, and the clients through which
    they have them."""

    RULES = (
        CelRule(
            "user-grantee-has-exactly-one",
            "[has(self.groups), has(self.subjects), has(self.allUsers)].exists_one(x, x)",
            "each entry of `toUsers` must have exactly one of groups, subjects and allUsers; "
            "write a separate entry for each",
        ),
        CelRule(
            "user-grantee-all-users-is-true",
            "!has(self.allUsers) || self.allUsers",
            "allUsers must be true; to grant nothing, remove this entry",
            "allUsers",
        ),
    )

    groups: Annotated[GroupNames, Field(min_length=1)] | None = None
    """Groups, as the identity provider says them; a user of any of them is granted the scopes. Defaults to none."""
    subjects: Annotated[Subjects, Field(min_length=1)] | None = None
    """Subjects of users: `sub` of their tokens, such as u-ktlbw2ejrcupbvj6lcjsxzgvxq. Defaults to none."""
    all_users: bool | None = None
    """Whether every user who can log in is granted the scopes; true is the only value. Defaults to none."""
    through: Through
    """OAuthClients through which the users have the scopes. Clients in the namespace of the ResourceServer are no
    exception."""


def _requirements(selector: str) -> str:
    """The CEL expression of the number of labels, expressions and values in a namespaceSelector."""
    return (
        f"(has({selector}.matchLabels) ? size({selector}.matchLabels) : 0)"
        f" + (has({selector}.matchExpressions)"
        f" ? {selector}.matchExpressions.map(e, 1 + (has(e.values) ? size(e.values) : 0)).sum() : 0)"
    )


def _bounded(rule: str, field: str, of_entry: str) -> CelRule:
    selector = f"{of_entry}.namespaceSelector"
    return CelRule(
        rule,
        f"!has(self.{field}) || self.{field}.map(t, has({selector}) ? {_requirements(selector)} : 0).sum()"
        f" <= {MAX_REQUIREMENTS}",
        f"the namespaceSelectors in `{field}` have more than {MAX_REQUIREMENTS} labels, expressions and values in all; "
        "add one common label to the namespaces and select it, or use several ScopeGrants",
        field,
    )


class ScopeGrantSpec(Spec):
    """Desired state of the grant, declared by the owner of the API."""

    RULES = (
        *Spec.RULES,
        timestamp_rule("expirationTime"),
        _bounded("selectors-are-bounded", "to", "t"),
        _bounded("user-selectors-are-bounded", "toUsers", "t.through"),
        CelRule(
            "grants-something",
            "(has(self.scopes) && size(self.scopes) > 0) || (has(self.roles) && size(self.roles) > 0)",
            "the grant has neither scopes nor roles; list at least one of them",
            "scopes",
        ),
        CelRule(
            "grants-to-someone",
            "(has(self.to) && size(self.to) > 0) || (has(self.toUsers) && size(self.toUsers) > 0)",
            "the grant has neither to nor toUsers; list the clients in `to`, or the users in `toUsers`",
            "to",
        ),
    )

    resource_server: Label
    """Name of the ResourceServer, in the namespace of the ScopeGrant. Scopes of other namespaces cannot be granted."""
    scopes: ScopeNames = Field(default_factory=list)
    """Granted scopes, from those that the ResourceServer declares. Defaults to none: only those of the roles."""
    roles: ScopeNames = Field(default_factory=list)
    """Granted roles, from those that the ResourceServer declares, with their scopes. Defaults to none."""
    to: Annotated[list[Grantee], Field(max_length=MAX_ITEMS)] = Field(default_factory=list)
    """Clients that the scopes are granted to, when they act for themselves. Clients in the namespace of the
    ResourceServer do not need a grant. Defaults to none."""
    to_users: Annotated[list[UserGrantee], Field(max_length=MAX_USER_GRANTS)] = Field(default_factory=list)
    """Users that the scopes are granted to, through clients. It grants nothing to clients that act for themselves.
    Defaults to none."""
    expiration_time: Timestamp | None = None
    """Time at which the grant expires, even if the operator is not running. Defaults to none: the grant ends when the
    object is deleted."""


class ScopeGrantStatus(Status):
    """Observed state of the grant. Written by the operator only."""

    granted_to: int | None = None
    """Number of OAuthClients that have scopes by this grant when they act for themselves. Not set before the first
    count."""
    users: Annotated[str, Field(max_length=256)] | None = None
    """Users in `toUsers`, such as "group payroll-managers". Not set if there are none."""
    applications: int | None = None
    """Number of OAuthClients that act for users, by a login or token exchange, and through which users have scopes by
    this grant. Not set if there is no entry in `toUsers`."""


class ScopeGrant(Kind):
    """ScopeGrant grants scopes of a ResourceServer in the same namespace to OAuthClients in other namespaces, and to
    users through OAuthClients. Deleting it ends the access within seconds."""

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
        Column("Users", ".status.users", "Users who have scopes by this grant."),
        Column(
            "Applications",
            ".status.applications",
            "Number of OAuthClients through which users have them.",
            type="integer",
            wide=True,
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
