"""How a client proves who it is: by what the operator makes for it, or by what it brings itself."""

from dataclasses import dataclass, field
from typing import Literal

from scopewright.api import OAuthClient
from scopewright.core.config import Config
from scopewright.core.failures import Rejected
from scopewright.core.records import LOCAL_CLUSTER, ClientRecord, Credential, ServiceAccount

CredentialKind = Literal["secret", "key pair"]
"""What the operator makes and rotates."""


@dataclass(frozen=True, slots=True)
class KeyPair:
    """A client's new key pair: the public JWK with `kid`, `alg` and `use`, and the private JWK as JSON."""

    jwk: dict[str, str]
    private: bytes = field(repr=False)


def managed_kind(client: OAuthClient) -> CredentialKind | None:
    """None where the client brings its own proof: keys that its owner has given, or a ServiceAccount."""
    match client.spec.authentication.method:
        case "ClientSecret":
            return "secret"
        case "PrivateKeyJWT":
            return None if declared_keys(client) else "key pair"
        case "ServiceAccount":
            return None


def kind_of(credential: Credential) -> CredentialKind:
    """Which of the two a credential is."""
    return "key pair" if credential.jwk else "secret"


def brings_own_credential(record: ClientRecord) -> bool:
    """Whether the client that the record is about brings its own proof."""
    return record.method == "ServiceAccount" or bool(record.public_keys)


def declared_keys(client: OAuthClient) -> tuple[dict[str, str], ...]:
    """The public JWKs of `spec.authentication.jwks`."""
    authentication = client.spec.authentication
    given = authentication.jwks.keys if authentication.method == "PrivateKeyJWT" and authentication.jwks else []
    return tuple(key.to_dict() for key in given)


def service_account(client: OAuthClient, found_uid: str | None, config: Config) -> ServiceAccount | None:
    """The ServiceAccount that proves who the client is, if its method wants one; `Rejected` where there is none.

    `found_uid` is that of the one in this cluster: "" while there is none, None where there is no cluster.
    """
    named = client.spec.authentication.service_account
    if client.spec.authentication.method != "ServiceAccount" or named is None:
        return None
    cluster = named.cluster or LOCAL_CLUSTER
    known = [c.name for c in config.clusters]
    if cluster not in known:
        raise Rejected(
            "UnknownCluster",
            f"the platform's configuration names no cluster {cluster}: have it added to clusters, or choose "
            f"one of {', '.join(known) or 'none'}",
        )
    uid = named.uid if cluster != LOCAL_CLUSTER else found_uid
    if uid:
        return ServiceAccount(named.name, uid, cluster)
    raise Rejected("ServiceAccountNotFound", _how_to_have_one(client, named.name, here=uid is not None))


def _how_to_have_one(client: OAuthClient, name: str, *, here: bool) -> str:
    if here:
        return (
            f"there is no ServiceAccount {name} in namespace {client.namespace}: create it "
            f"(kubectl -n {client.namespace} create serviceaccount {name}), or correct "
            "spec.authentication.serviceAccount.name"
        )
    return (
        "a directory has no ServiceAccounts: choose another method here, or name a cluster of the configuration's "
        "clusters, with the ServiceAccount's uid there"
    )
