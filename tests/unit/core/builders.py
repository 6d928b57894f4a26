"""Objects and views for tests of the core, with defaults for all fields that a test does not name."""

from datetime import datetime
from typing import Any

from scopewright.api import OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.core.client.authentication import KeyPair
from scopewright.core.client.view import ClientView
from scopewright.core.config import Config
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref, digest
from scopewright.core.records.client import ClientRecord, Credential
from scopewright.core.records.codec import encode
from scopewright.core.records.names import CLIENT_TYPE, ENTRY, key_record_name
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.signing.jwks import StoredKey
from scopewright.core.signing.view import GeneratedKey, SigningView
from tests.harness.clock import START
from tests.harness.samples import ISSUER, JWKS, NAMESPACE

NOW = START
CONFIG = Config(issuer=ISSUER)
SEAL_KEY = b"the seal key of the unit tests.."


def at(text: str) -> datetime:
    """The time `11:30` on the day of `NOW`."""
    return datetime.fromisoformat(f"2026-11-22T{text}:00+00:00")


def meta(namespace: str, name: str, uid: str = "uid-1", **more: Any) -> dict[str, Any]:
    return {"namespace": namespace, "name": name, "uid": uid, "resourceVersion": "1", "generation": 1, **more}


def client(namespace: str = "leave", name: str = "worker", uid: str = "uid-1", **spec: Any) -> OAuthClient:
    return OAuthClient.model_validate({"metadata": meta(namespace, name, uid), "spec": spec})


def server(namespace: str = "payroll", name: str = "payroll-api", **spec: Any) -> ResourceServer:
    return ResourceServer.model_validate({"metadata": meta(namespace, name), "spec": spec})


def grant(namespace: str = "payroll", name: str = "grant", **spec: Any) -> ScopeGrant:
    return ScopeGrant.model_validate({"metadata": meta(namespace, name), "spec": spec})


def signing_key(name: str = "default", **spec: Any) -> SigningKey:
    return SigningKey.model_validate({"metadata": meta(NAMESPACE, name), "spec": spec})


def existing(kind: str, namespace: str, name: str, entries: dict[str, bytes], **more: Any) -> Existing:
    return Existing(
        Ref(kind, namespace, name),
        f"uid of {name}",
        more.pop("resource_version", "7"),
        entries={k: digest(v) for k, v in entries.items()},
        labels=more.pop("labels", {MANAGED_BY: MANAGER}),
        **more,
    )


def credential(secret: str, issued: datetime, ends: datetime | None = None) -> Credential:
    return Credential(digest(secret), issued, ends)


def client_record(*credentials: Credential, uid: str = "uid-1", **more: Any) -> ClientRecord:
    default = {"secret_name": "worker-oauth"} | more
    return ClientRecord("leave", "worker", uid, credentials=credentials, **default)


def client_view(
    declared: OAuthClient, record: ClientRecord | None = None, secret: Existing | None = None, **more: Any
) -> ClientView:
    name = "client.leave.worker"
    held = existing("Secret", NAMESPACE, name, {ENTRY: encode(record)}, type=CLIENT_TYPE) if record else None
    default: dict[str, Any] = {
        "former_secrets": (), "servers": {}, "seal_key": SEAL_KEY, "config": CONFIG, "now": NOW,
        "generate_secret": lambda: "fresh", "generate_key_pair": lambda: KeyPair({"kid": "fresh"}, b"fresh"),
    }  # fmt: skip
    return ClientView(client=declared, record=record, record_object=held, secret=secret, **(default | more))


def key_record(kid: str, created: datetime, **more: Any) -> KeyRecord:
    default: dict[str, Any] = {
        "signing_key": "default",
        "algorithm": "ES256",
        "config_map": JWKS,
        "jwk": {"kid": kid},
    }
    return KeyRecord(kid=kid, creation_time=created, **(default | more))


def held(record: KeyRecord, *, has_private_key: bool = True) -> StoredKey:
    entries = {ENTRY: encode(record), **({"private.pem": b"pem"} if has_private_key else {})}
    return StoredKey(record, existing("Secret", NAMESPACE, key_record_name(record.kid), entries), has_private_key)


def signing_view(key: SigningKey | None, *keys: StoredKey, jwks: Existing | None = None, **more: Any) -> SigningView:
    default: dict[str, Any] = {
        "name": "default", "config": CONFIG, "now": NOW,
        "generate_key": lambda _: GeneratedKey({"kid": "fresh"}, b"pem"),
    }  # fmt: skip
    return SigningView(key=key, keys=keys, jwks=jwks, **(default | more))
