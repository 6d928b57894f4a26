"""Authentication of a client: with a credential that the operator generates, or with the client's own credential."""

from dataclasses import dataclass, field
from typing import Literal

from scopewright.api import OAuthClient
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.records.client import ClientRecord, Credential, ServiceAccount
from scopewright.core.records.names import LOCAL_CLUSTER

CredentialKind = Literal["secret", "key pair"]
"""Credentials that the operator generates and rotates."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A client's new key pair: the public JWK with `kid`, `alg` and `use`, and the private JWK as JSON."""

    jwk: dict[str, str]
    private: bytes = field(repr=False)


def managed_kind(client: OAuthClient) -> CredentialKind | None:
    """Return the kind of credential that the operator generates. None for a client with keys or a ServiceAccount of its
    own, and for a public client.
    """
    match client.spec.authentication.method:
        case "ClientSecret":
            return "secret"
        case "PrivateKeyJWT":
            return None if declared_keys(client) else "key pair"
        case "ServiceAccount" | "None":
            return None


def is_public(client: OAuthClient) -> bool:
    """Whether the client has no credential (method None): the user's login and PKCE protect the code."""
    return client.spec.authentication.method == "None"


def kind_of(credential: Credential) -> CredentialKind:
    return "key pair" if credential.jwk else "secret"


def brings_own_credential(record: ClientRecord) -> bool:
    """Whether the client of the record has keys or a ServiceAccount of its own."""
    return record.method == "ServiceAccount" or bool(record.public_keys)


def declared_keys(client: OAuthClient) -> tuple[dict[str, str], ...]:
    """Return the public JWKs of `spec.authentication.jwks`."""
    authentication = client.spec.authentication
    keys = authentication.jwks.keys if authentication.method == "PrivateKeyJWT" and authentication.jwks else []
    return tuple(key.to_dict() for key in keys)


def resolve_service_account(client: OAuthClient, local_uid: str | None, config: Config) -> ServiceAccount | None:
    """Return the ServiceAccount that authenticates the client; None with another method.

    `local_uid` is the UID of the one in this cluster, if it exists. Raise `Rejected` if there is no such cluster or
    ServiceAccount.
    """
    named = client.spec.authentication.service_account
    if client.spec.authentication.method != "ServiceAccount" or named is None:
        return None
    cluster = named.cluster or LOCAL_CLUSTER
    known = [c.name for c in config.clusters]
    if cluster not in known:
        raise Rejected(
            "UnknownCluster",
            f"the platform's configuration has no cluster {cluster}: ask the platform team to add it, or choose "
            f"one of {', '.join(known) or 'none'}",
        )
    uid = named.uid if cluster != LOCAL_CLUSTER else local_uid
    if uid:
        return ServiceAccount(named.name, uid, cluster)
    raise Rejected("ServiceAccountNotFound", _missing_account(client, named.name))


def _missing_account(client: OAuthClient, name: str) -> str:
    return (
        f"ServiceAccount {name} does not exist in namespace {client.namespace}: create it "
        f"(kubectl -n {client.namespace} create serviceaccount {name}), or correct "
        "spec.authentication.serviceAccount.name"
    )
