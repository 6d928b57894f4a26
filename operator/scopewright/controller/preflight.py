"""Checks at startup that the CRDs and permissions exist; reports everything missing at once, with what to do."""

import asyncio
from typing import Final

from scopewright.api import GROUP, KINDS
from scopewright.controller.missing_rights import Right
from scopewright.core.claims import LEASE_NAME
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.stores.kubernetes.answers import NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.store import CRDS

_PLURALS: Final = tuple(kind.PLURAL for kind in KINDS.values())


def rights(config: Config) -> list[Right]:
    """Every right that the operator needs, and no other."""
    own = config.namespace
    return [
        *(right for namespace in config.watch_targets for right in _rights_in(namespace or "")),
        *(Right("", "namespaces", verb, "") for verb in ("get", "list", "watch") if not config.watch_namespaces),
        Right("apiextensions.k8s.io", "customresourcedefinitions", "get", ""),
        *(Right(GROUP, "signingkeys", "list", "") for _ in config.watch_namespaces[:1]),
        *(Right("", "configmaps", verb, own) for verb in ("get", "list", "watch", "create", "update", "delete")),
        *(Right("coordination.k8s.io", "leases", verb, own) for verb in ("get", "create", "update")),
        Right(GROUP, "signingkeys", "create", own),
        Right(GROUP, "identityproviders", "get", own),
    ]


def _rights_in(namespace: str) -> list[Right]:
    """The rights in a watched namespace; "" stands for all namespaces."""
    return [
        *(Right(GROUP, plural, verb, namespace) for plural in _PLURALS for verb in ("list", "watch")),
        *(Right(GROUP, plural, "get", namespace) for plural in ("oauthclients", "resourceservers")),
        *(Right(GROUP, f"{plural}/status", "update", namespace) for plural in _PLURALS),
        *(Right("", "secrets", verb, namespace) for verb in ("get", "list", "watch", "create", "update", "delete")),
        *(Right("", "serviceaccounts", verb, namespace) for verb in ("list", "watch")),
        Right("events.k8s.io", "events", "create", namespace),
    ]


def minting_right(config: Config) -> Right:
    """For the ServiceAccount of an issuer that is a sidecar, and for no other."""
    return Right("", "serviceaccounts/token", "create", config.namespace)


def claims_right() -> Right:
    """To see which installations exist: for Leases of the name `LEASE_NAME`, and for no others."""
    return Right("coordination.k8s.io", "leases", "list", "")


async def preflight(api: Api, config: Config, issuer_account: str = "") -> None:
    """`Rejected` with everything that is missing. `issuer_account` is the ServiceAccount to mint tokens for, if any."""
    if missing := [name for name in await asyncio.gather(*(missing_crd(api, p) for p in _PLURALS)) if name]:
        raise Rejected(
            "CRDsMissing", f"the API server does not know {', '.join(missing)}: kubectl apply --server-side -f crds/"
        )
    needed = [*((right, "") for right in rights(config)), (claims_right(), LEASE_NAME)]
    if issuer_account:
        needed.append((minting_right(config), issuer_account))
    allowed = await asyncio.gather(*(_is_allowed(api, right, name) for right, name in needed))
    if forbidden := [each for each, has in zip(needed, allowed, strict=True) if not has]:
        lines = "\n".join(f"  {right}{f', for the name {name}' if name else ''}" for right, name in forbidden)
        raise Rejected("Forbidden", f"rights are missing; grant them to the operator's ServiceAccount:\n{lines}")
    try:
        await api.get(f"/api/v1/namespaces/{config.namespace}")
    except NotFound:
        raise Rejected(
            "NoNamespace",
            f"namespace {config.namespace} does not exist: kubectl create namespace {config.namespace}",
        ) from None
    except Rejected as error:
        if error.reason != "Forbidden":
            raise


async def missing_crd(api: Api, plural: str) -> str:
    """The name of the CRD if it is known not to exist, otherwise ""."""
    try:
        await api.get(f"{CRDS}/{plural}.{GROUP}")
    except NotFound:
        return f"{plural}.{GROUP}"
    except Rejected as error:
        if error.reason != "Forbidden":
            raise
    return ""


async def _is_allowed(api: Api, right: Right, name: str) -> bool:
    plural, _, subresource = right.resource.partition("/")
    attributes = {**right._asdict(), "resource": plural, "subresource": subresource, "name": name}
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": attributes},
    }
    answer = await api.request("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", body=review)
    return bool(answer["status"]["allowed"])
