"""The part `existing` of a golden case: Secrets and ConfigMaps as the cache of the operator gets them."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from itertools import count

from scopewright.core.client.credentials import SECRET_TYPE
from scopewright.core.client.seal import seal
from scopewright.core.config import Config
from scopewright.core.objects import (
    CLIENT_LABEL,
    DELETION_POLICY_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    PUBLIC_KEY_ANNOTATION,
    SEAL_ANNOTATION,
    Existing,
    ManagedKind,
    Ref,
    digest,
)
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import R, decode, encode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    IDENTITY_PROVIDER_TYPE,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    SIGNING_KEY_TYPE,
    USAGE_NAME,
    audience_claim_name,
    client_record_name,
    hostname_claim_name,
    identity_provider_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import AudienceClaim, HostnameClaim, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import UsageRecord, usage_key
from scopewright.core.session_stores import store_key
from scopewright.core.signing.jwks import JWKS_ENTRY
from tests.golden.names import Names
from tests.golden.yaml_text import Yaml
from tests.harness.samples import named_key

SEAL_KEY = b"the seal key of the golden cases"
CREATED = "2026-01-01T00:00:00Z"
Managed = tuple[Existing, dict[str, bytes]]
"""An object, and its entries."""


class ExistingObjects:
    """Reads the objects of one case. UID and version of each are made here."""

    def __init__(self, config: Config, names: Names) -> None:
        self._config = config
        self._names = names
        self._versions = count(1)

    def read(self, given: Yaml) -> list[Managed]:
        return [
            *(self._client_record(r) for r in given.get("clients", ())),
            *(self._server_record(r) for r in given.get("servers", ())),
            *(self._audience_claim(c) for c in given.get("claims", ())),
            *(self._hostname_claim(c) for c in given.get("hostnames", ())),
            *(self._usage_report(u) for u in given.get("usage", ())),
            *(self._key_record(r) for r in given.get("keys", ())),
            *(self._provider_record(p) for p in given.get("providers", ())),
            *(self._credential_secret(s) for s in given.get("secrets", ())),
            *(self._config_map(c) for c in given.get("configMaps", ())),
        ]

    def _client_record(self, given: Yaml) -> Managed:
        """By default of OAuthClient leave/leave-worker."""
        default = {"namespace": "leave", "name": "leave-worker", "uid": "uid-1", "secretName": "leave-worker-oauth"}
        record = {**default, **given}
        record["credentials"] = [self._credential(c) for c in given.get("credentials", ())]
        name = client_record_name(record["namespace"], record["name"])
        entries = {ENTRY: _encoded(ClientRecord, record)}
        return self._object("Secret", self._config.namespace, name, entries, type=CLIENT_TYPE)

    def _credential(self, given: Yaml) -> Yaml:
        """`secret` names a client secret, `key` a key pair."""
        rest = {name: value for name, value in given.items() if name not in ("secret", "key")}
        if name := given.get("key"):
            return {"sha256": digest(self._names.private_jwk(name)), "jwk": self._names.jwk(name), **rest}
        return {"sha256": self._names.secret(given["secret"]), **rest}

    def _server_record(self, given: Yaml) -> Managed:
        record = {name: value for name, value in given.items() if name != "creationTime"}
        name = resource_server_record_name(record["namespace"], record["name"])
        labels = {RECORD_LABEL: "resource-server"}
        entries = {ENTRY: _encoded(ResourceServerRecord, record)}
        created = given.get("creationTime", CREATED)
        return self._object("ConfigMap", self._config.namespace, name, entries, labels, created=created)

    def _usage_report(self, given: Yaml) -> Managed:
        """`used` maps names of secrets to instants; `itself` is a credential that leave/leave-worker brings.
        `sessionStores` maps names of stores to when each was reported, and to the `others` that its issuers know.
        """
        itself = ClientRecord("leave", "leave-worker", "uid-1").identity
        used = {
            usage_key(itself if name == "itself" else self._names.secret(name)): int(
                datetime.fromisoformat(when).timestamp() // 60
            )
            for name, when in given.get("used", {}).items()
        }
        stores = {
            store_key(name): {
                "reported": _seconds(report["reported"]),
                "others": {store_key(other): _seconds(when) for other, when in report.get("others", {}).items()},
            }
            for name, report in given.get("sessionStores", {}).items()
        }
        entries = {ENTRY: _encoded(UsageRecord, {"since": given["since"], "used": used, "sessionStores": stores})}
        return self._object("ConfigMap", self._config.namespace, USAGE_NAME, entries, {RECORD_LABEL: "usage"})

    def _audience_claim(self, given: Yaml) -> Managed:
        entries = {ENTRY: _encoded(AudienceClaim, given)}
        name, labels = audience_claim_name(given["audience"]), {RECORD_LABEL: "audience"}
        return self._object("ConfigMap", self._config.namespace, name, entries, labels)

    def _hostname_claim(self, given: Yaml) -> Managed:
        claim = {"basePath": "/", **given}
        entries = {ENTRY: _encoded(HostnameClaim, claim)}
        name, labels = hostname_claim_name(claim["hostname"], claim["basePath"]), {RECORD_LABEL: "hostname"}
        return self._object("ConfigMap", self._config.namespace, name, entries, labels)

    def _key_record(self, given: Yaml) -> Managed:
        """`private` is `its own` (the default), `lost`, or the name of another key."""
        name = given["key"]
        jwk = self._names.jwk(name)
        record = {
            "kid": jwk["kid"],
            "signingKey": "default",
            "algorithm": "ES256",
            "configMap": "scopewright-jwks",
            "jwk": jwk,
            **{key: value for key, value in given.items() if key not in ("key", "private")},
        }
        entries = {ENTRY: _encoded(KeyRecord, record)}
        private = given.get("private", "its own")
        if private != "lost":
            entries[PRIVATE_KEY_ENTRY] = named_key(name if private == "its own" else private).pem
        ref_name = key_record_name(jwk["kid"])
        return self._object("Secret", self._config.namespace, ref_name, entries, type=SIGNING_KEY_TYPE)

    def _provider_record(self, given: Yaml) -> Managed:
        """By default of an OpenID provider `company`. `entries` are those beside the record."""
        name = given.get("name", "company")
        url = f"https://{name}.example"
        record = {
            "name": name,
            "uid": "uid-1",
            "displayName": name,
            "subjectDomain": url,
            "oidc": {"issuerUrl": url, "clientId": "scopewright", "scopes": ["openid", "profile", "email"]},
            **{key: value for key, value in given.items() if key not in ("entries", "creationTime")},
        }
        entries = {ENTRY: _encoded(IdentityProviderRecord, record)}
        entries |= {entry: text.encode() for entry, text in given.get("entries", {}).items()}
        return self._object(
            "Secret", self._config.namespace, identity_provider_record_name(name), entries,
            type=IDENTITY_PROVIDER_TYPE, created=given.get("creationTime", CREATED),
        )  # fmt: skip

    def _credential_secret(self, given: Yaml) -> Managed:
        """`sealed` is the issue time under the seal ("" without a credential); without `sealed` there is no seal.

        With `retained` the seal says that the Secret outlives its client. `edited` and `editedAnnotations` are changes
        that were made after the seal. An entry `key one` is the private JWK of that key, and an annotation then holds
        the public one.
        """
        texts = _standard_entries(self._config.issuer) | given.get("entries", {})
        entries = {name: self._names.entry(text) for name, text in texts.items() if text is not None}
        annotations = dict(given.get("annotations", {}))
        keys = [text.removeprefix("key ") for text in texts.values() if text and text.startswith("key ")]
        public = json.dumps(self._names.jwk(keys[0]), sort_keys=True, separators=(",", ":")) if keys else ""
        if public:
            annotations[PUBLIC_KEY_ANNOTATION] = public
        if (issue_time := given.get("sealed")) is not None:
            issuer = given.get("sealedFor", self._config.issuer)
            digests = {name: digest(value) for name, value in entries.items()}
            client, retained = given.get("client", "leave.leave-worker"), given.get("retained", False)
            sealed = seal(SEAL_KEY, issuer, client, issue_time, digests, public, retained=retained)
            annotations |= {DELETION_POLICY_ANNOTATION: "Retain"} if retained else {}
            annotations |= {SEAL_ANNOTATION: sealed} | ({ISSUE_TIME_ANNOTATION: issue_time} if issue_time else {})
            entries |= {name: self._names.entry(text) for name, text in given.get("edited", {}).items()}
        annotations |= given.get("editedAnnotations", {})
        return self._object(
            "Secret", given.get("namespace", "leave"), given.get("name", "leave-worker-oauth"), entries,
            {CLIENT_LABEL: "leave-worker", **given.get("labels", {})},
            type=given.get("type", SECRET_TYPE), annotations=annotations, owners=tuple(given.get("owners", ("uid-1",))),
        )  # fmt: skip

    def _config_map(self, given: Yaml) -> Managed:
        """`jwks` lists names of keys; a `foreign` ConfigMap lacks Scopewright's label."""
        entries = {name: value.encode() for name, value in given.get("entries", {}).items()}
        if "jwks" in given:
            keys = {"keys": [self._names.jwk(name) for name in given["jwks"]]}
            entries[JWKS_ENTRY] = json.dumps(keys, indent=1, sort_keys=True).encode()
        existing, content = self._object("ConfigMap", self._config.namespace, given["name"], entries)
        return (replace(existing, labels={}) if given.get("foreign") else existing), content

    def _object(
        self, kind: ManagedKind, namespace: str, name: str, entries: dict[str, bytes],
        labels: Mapping[str, str] | None = None, *, type: str = "",  # noqa: A002 (the field's own name)
        annotations: Mapping[str, str] | None = None, owners: tuple[str, ...] = (), created: str = CREATED,
    ) -> Managed:  # fmt: skip
        existing = Existing(
            Ref(kind, namespace, name), f"uid of {name}", str(next(self._versions)), type,
            {MANAGED_BY: MANAGER, **(labels or {})}, annotations or {}, owners,
            {name: digest(value) for name, value in entries.items()}, datetime.fromisoformat(created),
        )  # fmt: skip
        return existing, entries


def _standard_entries(issuer: str) -> Yaml:
    """The Secret of leave/leave-worker without its credential, where the client asks for no access."""
    return {
        "type": "oauth2",
        "provider": "scopewright",
        "client_id": "leave.leave-worker",
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks.json",
    }


def _seconds(when: str) -> int:
    return int(datetime.fromisoformat(when).timestamp())


def _encoded(kind: type[R], given: Yaml) -> bytes:
    """The record as the operator writes it; with `malformed: true`, an entry that cannot be decoded."""
    if given.get("malformed"):
        return b"{"
    return encode(decode(kind, json.dumps(given).encode()))
