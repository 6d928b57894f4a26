"""RBAC of an installation: exactly the rights that the operator's preflight requires, and those of the issuer."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from scopewright.controller.preflight import claims_right, rights
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.records.names import WRITTEN_BY_ISSUERS

from .kube import Manifest

_RBAC: Final = "rbac.authorization.k8s.io"


def rbac_manifests(config: Config, operator: str, issuer: str, settings: Mapping[str, Any]) -> list[Manifest]:
    """For the users `operator` and `issuer`. The issuer reads its namespace and updates the objects that it writes."""
    needed = rights(config)
    cluster_wide = [_rule(group, resource, verb) for group, resource, verb, where in needed if not where]
    cluster_wide.append({**_rule(*claims_right()[:3]), "resourceNames": [LEASE_NAME]})
    in_namespace = [_rule(group, resource, verb) for group, resource, verb, where in needed if where]
    updates = {**_rule("", "configmaps", "update"), "resourceNames": [*WRITTEN_BY_ISSUERS]}
    reads = [_rule("", kind, verb) for kind in ("secrets", "configmaps") for verb in ("get", "list", "watch")]
    has_token_review = any(cluster.get("tokenReview") for cluster in settings.get("clusters", ()))
    reviews = [_rule("authentication.k8s.io", "tokenreviews", "create")] if has_token_review else []
    return [
        *_role_and_binding("ClusterRole", operator, "", operator, cluster_wide),
        *_role_and_binding("Role", "operator", config.namespace, operator, in_namespace),
        *_role_and_binding("Role", "issuer", config.namespace, issuer, [*reads, updates]),
        *_role_and_binding("ClusterRole", issuer, "", issuer, reviews),
    ]


def gateway_rights(namespace: str, user: str) -> list[Manifest]:
    """Those that the chart gives to the gateway: ConfigMaps of the issuer's namespace, and no Secrets."""
    reads = [_rule("", "configmaps", verb) for verb in ("get", "list", "watch")]
    return [*_role_and_binding("Role", "gateway", namespace, user, reads)]


def _rule(group: str, resource: str, verb: str) -> Manifest:
    return {"apiGroups": [group], "resources": [resource], "verbs": [verb]}


def _role_and_binding(kind: str, name: str, namespace: str, user: str, rules: Iterable[Manifest]) -> Iterator[Manifest]:
    meta = {"name": name, **({"namespace": namespace} if namespace else {})}
    yield {"apiVersion": f"{_RBAC}/v1", "kind": kind, "metadata": meta, "rules": list(rules)}
    yield {
        "apiVersion": f"{_RBAC}/v1",
        "kind": f"{kind}Binding",
        "metadata": meta,
        "roleRef": {"apiGroup": _RBAC, "kind": kind, "name": name},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }
