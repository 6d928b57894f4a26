"""A plan without the platform's configuration allows what only the configuration could refuse, and warns of it."""

from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Final

from scopewright.api import OAuthClient, ResourceServer
from scopewright.api.login import ClientLogin
from scopewright.api.redirect_uris import redirect_host, redirect_kind
from scopewright.core.client.authentication import is_public
from scopewright.core.clusters import ClusterConfig
from scopewright.core.config import Applications, AudiencePrefix, Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.failures import Rejected
from scopewright.core.gateway_config import HostnameEntry
from scopewright.core.http_rules import http_access
from scopewright.core.objects import Ref
from scopewright.core.records.names import LOCAL_CLUSTER
from scopewright.core.records.resource_server import HttpAccess
from scopewright.plan.changes import Finding
from scopewright.plan.dry_run import Raw

UNKNOWN_ISSUER: Final = "https://issuer.invalid"
"""Issuer where none is given (RFC 2606 §2). No result depends on it."""

Requested = tuple[Ref, str, str]
"""An object, the field of the configuration that it needs, and the value."""


def permissive_config(config: Config, objects: Mapping[Ref, Raw]) -> Config:
    """The configuration, with every audience, cluster and redirect host that the objects name, loopback and every
    hostname.
    """
    requested = list(_requested(objects))
    audiences = {AudiencePrefix(prefix=v, namespaces=(r.namespace,)) for r, what, v in requested if what == "audiences"}
    clusters = {v: ClusterConfig(name=v, issuer=UNKNOWN_ISSUER) for _, what, v in requested if what == "clusters"}
    applications = {
        Applications(namespaces=(r.namespace,), hosts=(v,), consent="Skippable")
        for r, what, v in requested
        if what == "hosts"
    }
    users = config.users.model_copy(update={"applications": tuple(applications)})
    known = {cluster.name: cluster for cluster in config.clusters}
    permissive = config.model_copy(
        update={
            "audiences": tuple(audiences),
            "clusters": tuple({**clusters, **known}.values()),
            "users": users,
            "gateway": config.gateway.model_copy(update={"hostnames": tuple(_hostnames(objects))}),
        }
    )
    return permissive.for_dev()


def _hostnames(objects: Mapping[Ref, Raw]) -> Iterator[HostnameEntry]:
    """An entry for each hostname with its base path, so that no other entry decides about it."""
    for ref, server in _declared(objects):
        http = http_access(server) if isinstance(server, ResourceServer) else HttpAccess()
        for hostname in http.hostnames:
            with suppress(ValueError):  # no configuration allows it
                yield HostnameEntry(hostname=hostname, path_prefix=http.base_path, namespaces=(ref.namespace,))


def unchecked_rules(objects: Mapping[Ref, Raw]) -> tuple[Finding, ...]:
    """Warnings for each value that the configuration may refuse. Paths that need no token are listed for anyone."""
    message = "only the configuration of the platform shows whether it is allowed: pass --config FILE"
    of = {
        "audiences": ("AudienceUnchecked", ("spec", "audience")),
        "clusters": ("ClusterUnchecked", ("spec", "authentication", "serviceAccount", "cluster")),
        "hosts": ("RedirectHostUnchecked", ("spec", "login", "redirectURIs")),
        "consent": ("ConsentUnchecked", ("spec", "login", "consent")),
        "hostnames": ("HostnameUnchecked", ("spec", "http", "hostnames")),
    }
    return tuple(
        Finding(ref, of[what][0], f"{value}: {message}", of[what][1]) for ref, what, value in _requested(objects)
    )


def _requested(objects: Mapping[Ref, Raw]) -> Iterator[Requested]:
    for ref, obj in _declared(objects):
        if isinstance(obj, ResourceServer) and obj.spec.audience:
            yield ref, "audiences", obj.spec.audience
        if isinstance(obj, ResourceServer) and obj.spec.http:
            yield from ((ref, "hostnames", hostname) for hostname in obj.spec.http.hostnames or ())
        named = obj.spec.authentication.service_account if isinstance(obj, OAuthClient) else None
        if named and named.cluster not in (None, LOCAL_CLUSTER):
            yield ref, "clusters", str(named.cluster)
        if isinstance(obj, OAuthClient) and obj.spec.login:
            yield from ((ref, "hosts", host) for host in _redirect_hosts(obj, obj.spec.login))
            if obj.spec.login.consent == "Skip":
                yield ref, "consent", "consent Skip"


def _declared(objects: Mapping[Ref, Raw]) -> Iterator[tuple[Ref, Declared]]:
    """The valid ones."""
    for ref, raw in sorted(objects.items()):
        try:
            yield ref, parse_declared(raw)
        except Rejected:
            continue


def _redirect_hosts(client: OAuthClient, login: ClientLogin) -> Iterator[str]:
    """Without those that need no configuration: loopback of public clients."""
    hosts: dict[str, None] = {}
    for uri in (*login.redirect_uris, *login.post_logout_redirect_uris):
        kind = redirect_kind(uri)
        if kind is not None and not (kind == "loopback" and is_public(client)):
            hosts[redirect_host(uri)] = None
    yield from hosts
