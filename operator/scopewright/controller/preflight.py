"""Checks at startup that the CRDs and permissions exist; reports everything missing at once, with what to do."""

import asyncio
from typing import Final

from scopewright.api import GROUP, KINDS
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import CRDS

_PLURALS: Final = tuple(kind.PLURAL for kind in KINDS.values())

Right = tuple[str, str, str, str]
"""API group, resource, verb, and the namespace it is needed in ("" for all)."""


def rights(config: Config) -> list[Right]:
    """Every right that the operator needs, and no other."""
    own = config.namespace
    return [
        *(right for namespace in config.watched for right in _watching(namespace or "")),
        *(("", "namespaces", verb, "") for verb in ("get", "list", "watch") if not config.watch_namespaces),
        ("apiextensions.k8s.io", "customresourcedefinitions", "get", ""),
        *((GROUP, "signingkeys", "list", "") for _ in config.watch_namespaces[:1]),
        *(("", "configmaps", verb, own) for verb in ("get", "list", "watch", "create", "update", "delete")),
        *(("coordination.k8s.io", "leases", verb, own) for verb in ("get", "create", "update")),
        (GROUP, "signingkeys", "create", own),
    ]


def _watching(where: str) -> list[Right]:
    """In each namespace that is watched; "" for all of them."""
    return [
        *((GROUP, plural, verb, where) for plural in _PLURALS for verb in ("list", "watch")),
        *((GROUP, plural, "get", where) for plural in ("oauthclients", "resourceservers")),
        *((GROUP, f"{plural}/status", "update", where) for plural in _PLURALS),
        *(("", "secrets", verb, where) for verb in ("get", "list", "watch", "create", "update", "delete")),
        *(("", "serviceaccounts", verb, where) for verb in ("list", "watch")),
        ("events.k8s.io", "events", "create", where),
    ]


def minting_right(config: Config) -> Right:
    """What it takes beside that where the issuer is our sidecar; for its ServiceAccount alone."""
    return "", "serviceaccounts/token", "create", config.namespace


def claims_right() -> Right:
    """What it takes to see which installations there are; for Leases of the name `LEASE_NAME` alone."""
    return "coordination.k8s.io", "leases", "list", ""


async def preflight(api: Api, config: Config, issuer_account: str = "") -> None:
    """`Rejected` with everything that is missing. `issuer_account` is the ServiceAccount to mint tokens for, if any."""
    if missing := [name for name in await asyncio.gather(*(missing_crd(api, p) for p in _PLURALS)) if name]:
        raise Rejected(
            "CRDsMissing", f"the API server does not know {', '.join(missing)}: kubectl apply --server-side -f crds/"
        )
    needed = [*((right, "") for right in rights(config)), (claims_right(), LEASE_NAME)]
    if issuer_account:
        needed.append((minting_right(config), issuer_account))
    allowed = await asyncio.gather(*(_allowed(api, right, name) for right, name in needed))
    if lacking := [one for one, has in zip(needed, allowed, strict=True) if not has]:
        lines = "\n".join(f"  {_describe(right, name)}" for right, name in lacking)
        raise Rejected("Forbidden", f"rights are missing; grant them to the operator's ServiceAccount:\n{lines}")
    try:
        await api.get(f"/api/v1/namespaces/{config.namespace}")
    except NotFound:
        raise Rejected(
            "NoNamespace", f"namespace {config.namespace} is not there: kubectl create namespace {config.namespace}"
        ) from None
    except Rejected as error:
        if error.reason != "Forbidden":
            raise


async def missing_crd(api: Api, plural: str) -> str:
    """Its name, if it is known not to be there; else nothing."""
    try:
        await api.get(f"{CRDS}/{plural}.{GROUP}")
    except NotFound:
        return f"{plural}.{GROUP}"
    except Rejected as error:
        if error.reason != "Forbidden":
            raise
    return ""


async def _allowed(api: Api, right: Right, name: str) -> bool:
    group, resource, verb, namespace = right
    plural, _, subresource = resource.partition("/")
    attributes = {
        "group": group,
        "resource": plural,
        "subresource": subresource,
        "verb": verb,
        "namespace": namespace,
        "name": name,
    }
    review = await api.request(
        "POST",
        "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
        body={
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": attributes},
        },
    )
    return bool(review["status"]["allowed"])


def _describe(right: Right, name: str) -> str:
    group, resource, verb, namespace = right
    where = f"in namespace {namespace}" if namespace else "in every namespace"
    return f"{verb} {resource}{'.' + group if group else ''}{f' of {name}' if name else ''} {where}"
