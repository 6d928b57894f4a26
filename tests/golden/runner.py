"""Golden cases: a YAML file says what is declared and what exists, and the plan that the core must make of it.

The views are gathered by the controller's own code, from a world that holds what the case says. Secrets have names in
a case (`secret: one`), keys too (`key: first`), and a plan shows them by these names: nothing raw is ever compared.
`serviceAccounts` maps those of the cluster, as `<namespace>/<name>`, to their UIDs; null: there is no cluster.
"""

import asyncio
import difflib
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from scopewright.api import API_VERSION
from scopewright.controller.cache import Cache
from scopewright.controller.key_generation import client_pair, public_members
from scopewright.controller.reconcile import Reconciler
from scopewright.controller.views import Dependencies, ReconcileResult
from scopewright.core.client.seal import seal
from scopewright.core.config import Config
from scopewright.core.declared import Declared, parse_declared
from scopewright.core.failures import Unavailable
from scopewright.core.objects import (
    CLIENT_LABEL,
    DELETION_POLICY_ANNOTATION,
    ISSUE_TIME_ANNOTATION,
    MANAGED_BY,
    MANAGER,
    PUBLIC_KEY_ANNOTATION,
    ROTATE_DIGEST_ANNOTATION,
    SEAL_ANNOTATION,
    Deletion,
    Desired,
    Existing,
    ManagedKind,
    PreservedEntry,
    Ref,
    Write,
    digest,
)
from scopewright.core.plan import Event, Plan
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import R, decode, encode
from scopewright.core.records.fields import rfc3339
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    SIGNING_KEY_TYPE,
    USAGE_NAME,
    audience_claim_name,
    client_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import AudienceClaim, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import UsageRecord, usage_key
from scopewright.core.signing.jwks import JWKS_ENTRY
from scopewright.core.signing.view import GeneratedKey
from scopewright.stores import Store
from scopewright.verifier.thumbprint import thumbprint

HERE = Path(__file__).parent
SEAL_KEY = b"the seal key of the golden cases"
Yaml = dict[str, Any]


class Quiet:
    """Events are part of the plan already."""

    def record(self, obj: Declared, happening: Event) -> None:
        return None


class _Gone:
    """Of a store, only what tells that a declared object is gone."""

    async def confirm_deleted(self, ref: Ref, uid: str, since: datetime) -> str:
        return "deleted"


class Case:
    """One file, read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text()
        given = cast("Yaml", yaml.load(self.text, _Loader))
        self.now = datetime.fromisoformat(given["now"])
        self.config = Config.model_validate({"issuer": "https://issuer.example.org"} | given.get("config", {}))
        self.declared = [_manifest(m) for m in given.get("declared", ())]
        self.existing: Yaml = given.get("existing") or {}
        self.namespaces: Mapping[str, Mapping[str, str]] = given.get("namespaces") or {}
        self.service_accounts: Mapping[str, str] | None = given.get("serviceAccounts", {})
        self.mint = iter([*given.get("mint", ()), *(f"minted #{n}" for n in range(1, 9))])
        self.key = _key(given.get("about"), self.declared)
        self.expected: Any = given.get("plan")
        self._versions = iter(range(1, 1000))
        self._made = iter(f"made #{n}" for n in range(1, 9))
        self._secrets: dict[str, str] = {}
        self._keys: dict[str, str] = {}
        self._pems: dict[str, str] = {}

    def actual(self) -> Yaml:
        world = Cache(self.config.name, self.config.namespace, in_cluster=self.service_accounts is not None)
        for name, labels in self.namespaces.items():
            world.put_namespace(name, labels)
        for name, uid in (self.service_accounts or {}).items():
            world.put_service_account(Ref("ServiceAccount", *name.split("/")), uid)
        for existing, entries in self._managed():
            world.put_managed(existing, entries)
        for manifest in self.declared:
            world.put(parse_declared(manifest))
        reconciler = Reconciler(
            cast("Store", _Gone()), world, self.config,
            Dependencies(lambda: self.now, self._generate_secret, self._make_key), Quiet(),
            enqueue=lambda _: None,
        )  # fmt: skip
        reconciler.set_seal_key(SEAL_KEY)
        world.deleted.add(self.key)
        try:
            plan = asyncio.run(reconciler._plan(self.key, ReconcileResult()))
        except Unavailable as error:
            return {"unavailable": error.message}
        return self._shown(plan)

    def check(self) -> None:
        actual = self.actual()
        if os.environ.get("UPDATE_GOLDEN"):
            if os.environ.get("CI"):
                raise RuntimeError("UPDATE_GOLDEN rewrites what is expected: never in CI")
            head = self.text.split("\nplan:")[0].rstrip()
            self.path.write_text(f"{head}\n{_dump({'plan': actual})}")
            return
        assert actual == self.expected, difference(self.expected, actual)

    # What a case says exists

    def _managed(self) -> list[tuple[Existing, dict[str, bytes]]]:
        say = self.existing
        return [
            *(self._client_record(r) for r in say.get("clients", ())),
            *(self._server_record(r) for r in say.get("servers", ())),
            *(self._claim(c) for c in say.get("claims", ())),
            *(self._usage(u) for u in say.get("usage", ())),
            *(self._key_record(r) for r in say.get("keys", ())),
            *(self._secret(s) for s in say.get("secrets", ())),
            *(self._config_map(c) for c in say.get("configMaps", ())),
        ]

    def _client_record(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        usual = {"namespace": "leave", "name": "leave-worker", "uid": "uid-1", "secretName": "leave-worker-oauth"}
        record = {**usual, **given}
        record["credentials"] = [self._credential(c) for c in record.get("credentials", ())]
        name = client_record_name(record["namespace"], record["name"])
        entries = {ENTRY: _record(ClientRecord, record)}
        return self._object("Secret", self.config.namespace, name, entries, type=CLIENT_TYPE)

    def _credential(self, given: Yaml) -> Yaml:
        rest = {k: v for k, v in given.items() if k not in ("secret", "key")}
        if name := given.get("key"):
            return {"sha256": digest(self._private_jwk(name)), "jwk": self._jwk(name), **rest}
        return {"sha256": self._named_secret(given["secret"]), **rest}

    def _server_record(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        record = {k: v for k, v in given.items() if k != "creationTime"}
        name = resource_server_record_name(record["namespace"], record["name"])
        labels = {RECORD_LABEL: "resource-server"}
        created = given.get("creationTime", "2026-01-01T00:00:00Z")
        entries = {ENTRY: _record(ResourceServerRecord, record)}
        return self._object("ConfigMap", self.config.namespace, name, entries, labels, created=created)

    def _usage(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        """`used` maps secrets to instants; `itself` is what leave/leave-worker brings."""
        itself = ClientRecord("leave", "leave-worker", "uid-1").identity
        used = {
            usage_key(itself if name == "itself" else self._named_secret(name)): int(
                datetime.fromisoformat(when).timestamp() // 60
            )
            for name, when in given.get("used", {}).items()
        }
        entries = {ENTRY: _record(UsageRecord, {"since": given["since"], "used": used})}
        return self._object("ConfigMap", self.config.namespace, USAGE_NAME, entries, {RECORD_LABEL: "usage"})

    def _claim(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        entries = {ENTRY: _record(AudienceClaim, given)}
        name, labels = audience_claim_name(given["audience"]), {RECORD_LABEL: "audience"}
        return self._object("ConfigMap", self.config.namespace, name, entries, labels)

    def _key_record(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        name = given["key"]
        jwk = self._jwk(name)
        record = {
            "kid": jwk["kid"],
            "signingKey": "default",
            "algorithm": "ES256",
            "configMap": "scopewright-jwks",
            "jwk": jwk,
            **{k: v for k, v in given.items() if k not in ("key", "private")},
        }
        entries = {ENTRY: _record(KeyRecord, record)}
        match given.get("private", "its own"):
            case "its own":
                entries[PRIVATE_KEY_ENTRY] = _pem(name)
            case "lost":
                pass
            case other:
                entries[PRIVATE_KEY_ENTRY] = _pem(other)
        return self._object(
            "Secret", self.config.namespace, key_record_name(jwk["kid"]), entries, type=SIGNING_KEY_TYPE
        )

    def _secret(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        """`sealed` is the issue time under which the seal was made ("" with no credential); without it, no seal.
        With `retained` it says that it outlives its client.

        An entry `key one` is the private JWK of that key, whose public one an annotation then holds.
        """
        said = _usual(self.config.issuer) | given.get("entries", {})
        entries = {name: self._entry(value) for name, value in said.items() if value is not None}
        annotations = dict(given.get("annotations", {}))
        keys = [v.removeprefix("key ") for v in said.values() if v and v.startswith("key ")]
        public = json.dumps(self._jwk(keys[0]), sort_keys=True, separators=(",", ":")) if keys else ""
        if public:
            annotations[PUBLIC_KEY_ANNOTATION] = public
        if (issued := given.get("sealed")) is not None:
            of = given.get("sealedFor", self.config.issuer)
            digests = {name: digest(value) for name, value in entries.items()}
            client, retained = given.get("client", "leave.leave-worker"), given.get("retained", False)
            sealed = seal(SEAL_KEY, of, client, issued, digests, public, retained=retained)
            annotations |= {DELETION_POLICY_ANNOTATION: "Retain"} if retained else {}
            annotations |= {SEAL_ANNOTATION: sealed} | ({ISSUE_TIME_ANNOTATION: issued} if issued else {})
            entries |= {name: self._entry(value) for name, value in given.get("edited", {}).items()}
        annotations |= given.get("editedAnnotations", {})
        return self._object(
            "Secret", given.get("namespace", "leave"), given.get("name", "leave-worker-oauth"), entries,
            {CLIENT_LABEL: "leave-worker", **given.get("labels", {})},
            type=given.get("type", "servicebinding.io/oauth2"), annotations=annotations,
            owners=tuple(given.get("owners", ("uid-1",))),
        )  # fmt: skip

    def _entry(self, value: str) -> bytes:
        if value.startswith("secret "):
            self._named_secret(value.removeprefix("secret "))
            return value.removeprefix("secret ").encode()
        if value.startswith("key "):
            return self._private_jwk(value.removeprefix("key "))
        return value.encode()

    def _config_map(self, given: Yaml) -> tuple[Existing, dict[str, bytes]]:
        entries = {name: value.encode() for name, value in given.get("entries", {}).items()}
        if "jwks" in given:
            keys = {"keys": [self._jwk(name) for name in given["jwks"]]}
            entries[JWKS_ENTRY] = json.dumps(keys, indent=1, sort_keys=True).encode()
        found, content = self._object("ConfigMap", self.config.namespace, given["name"], entries)
        if given.get("foreign"):
            found = replace(found, labels={})
        return found, content

    def _object(
        self, kind: ManagedKind, namespace: str, name: str, entries: dict[str, bytes],
        labels: Mapping[str, str] | None = None, *, type: str = "",  # noqa: A002 (the field's own name)
        annotations: Mapping[str, str] | None = None, owners: tuple[str, ...] = (),
        created: str = "2026-01-01T00:00:00Z",
    ) -> tuple[Existing, dict[str, bytes]]:  # fmt: skip
        existing = Existing(
            Ref(kind, namespace, name), f"uid of {name}", str(next(self._versions)), type,
            {MANAGED_BY: MANAGER, **(labels or {})}, annotations or {}, owners,
            {k: digest(v) for k, v in entries.items()}, datetime.fromisoformat(created),
        )  # fmt: skip
        return existing, entries

    # Names for what must not be shown

    def _named_secret(self, name: str) -> str:
        self._secrets[digest(name)] = name
        return digest(name)

    def _generate_secret(self) -> str:
        secret: str = next(self.mint)
        self._named_secret(secret)
        return secret

    def _jwk(self, name: str) -> Yaml:
        members = public_members(_private_key(name))
        jwk = {**members, "kid": thumbprint(members), "alg": "ES256", "use": "sig"}
        self._keys[jwk["kid"]] = name
        self._pems[_pem(name).decode()] = name
        return jwk

    def _private_jwk(self, name: str) -> bytes:
        private = client_pair(GeneratedKey(self._jwk(name), _pem(name))).private
        self._pems[private.decode()] = name
        self._secrets[digest(private)] = f"private key {name}"
        return private

    def _make_key(self, algorithm: str) -> GeneratedKey:
        name = next(self._made)
        self._private_jwk(name)
        return GeneratedKey({**self._jwk(name), "alg": algorithm}, _pem(name))

    # A plan, to be read

    def _shown(self, plan: Plan) -> Yaml:
        shown: Yaml = {}
        if plan.writes:
            shown["writes"] = [self._write(w) for w in plan.writes]
        if plan.events:
            shown["events"] = [
                {"reason": h.reason, "message": h.message} | ({"warning": True} if h.warning else {})
                for h in plan.events
            ]
        if plan.status is not None:
            shown["status"] = plan.status
        if plan.due:
            shown["due"] = rfc3339(plan.due)
        return cast("Yaml", self._named(shown))

    def _write(self, write: Write) -> Yaml:
        if isinstance(write, Deletion):
            return {"delete": str(write.existing.ref)}
        shown: Yaml = {"replace" if write.replaces else "create": self._where(write)}
        if write.type:
            shown["type"] = write.type
        for field in ("labels", "annotations"):
            if values := getattr(write, field):
                shown[field] = {k: self._sealed(write) if k == SEAL_ANNOTATION else v for k, v in values.items()}
        if write.owner:
            shown["owner"] = f"{write.owner.kind} {write.owner.name} {write.owner.uid}"
        if write.replaces and (removed := _removed(write, write.replaces)):
            shown["removes"] = removed
        shown["entries"] = {name: self._value(name, value) for name, value in write.entries.items()}
        return shown

    def _where(self, write: Desired) -> str:
        for kid, name in self._keys.items():
            if write.ref.name == key_record_name(kid):
                return f"{write.ref.kind} {write.ref.namespace}/record of key {name}"
        return str(write.ref)

    def _sealed(self, write: Desired) -> str:
        issued, public = (write.annotations.get(a, "") for a in (ISSUE_TIME_ANNOTATION, PUBLIC_KEY_ANNOTATION))
        client = f"{self.key.namespace}.{self.key.name}"
        retained = DELETION_POLICY_ANNOTATION in write.annotations
        rotate = write.annotations.get(ROTATE_DIGEST_ANNOTATION, "")
        sealed = seal(
            SEAL_KEY, self.config.issuer, client, issued, write.digests(), public, retained=retained, rotate=rotate
        )
        fits = write.annotations[SEAL_ANNOTATION] == sealed
        return "verifies" if fits else "DOES NOT VERIFY"

    def _value(self, name: str, value: bytes | PreservedEntry) -> Any:
        if isinstance(value, PreservedEntry):
            return f"kept {value.entry}"
        if name == ENTRY:
            return json.loads(value)
        if name == JWKS_ENTRY:
            return [k["kid"] for k in json.loads(value)["keys"]]
        return value.decode()

    def _named(self, value: Any) -> Any:
        if isinstance(value, dict):
            if set(value) >= {"kty", "kid"} and value["kid"] in self._keys:
                return f"public key {self._keys[value['kid']]}"
            return {k: self._named(v) for k, v in value.items()}
        if isinstance(value, list):
            return [self._named(v) for v in value]
        if not isinstance(value, str):
            return value
        if value in self._pems:
            return f"private key {self._pems[value]}"
        if value in self._secrets:
            return f"sha256 of {self._secrets[value]}"
        if value.startswith("{") and (name := self._keys.get(json.loads(value).get("kid", ""))):
            return f"public key {name}"
        for kid, name in self._keys.items():
            value = value.replace(kid, name)
        return value


def difference(expected: Any, actual: Any) -> str:
    """What is planned against what was expected, as a diff of YAML."""
    lines = difflib.unified_diff(
        _dump(expected).splitlines(), _dump(actual).splitlines(), "expected", "planned", lineterm=""
    )
    return "the plan is another (UPDATE_GOLDEN=1 accepts it):\n" + "\n".join(lines)


def cases() -> list[Path]:
    return sorted(HERE.glob("*/*.yaml"))


class _Loader(yaml.SafeLoader):
    """Instants stay text, as JSON and the API server have them."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:timestamp"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, and no anchors."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


_Dumper.yaml_implicit_resolvers = _Loader.yaml_implicit_resolvers


def _dump(value: Any) -> str:
    return yaml.dump(value, Dumper=_Dumper, sort_keys=False, width=120, allow_unicode=True)


def _manifest(given: Yaml) -> Yaml:
    meta = {"uid": "uid-1", "resourceVersion": "1", "generation": 1, **given["metadata"]}
    return {"apiVersion": API_VERSION, **given, "metadata": meta}


def _key(about: str | None, declared: list[Yaml]) -> Ref:
    if about:
        kind, _, place = about.partition(" ")
        return Ref(kind, *place.split("/"))
    first = declared[0]
    return Ref(first["kind"], first["metadata"]["namespace"], first["metadata"]["name"])


def _removed(write: Desired, existing: Existing) -> list[str]:
    return [
        *(f"label {key}" for key in sorted(write.without_labels & existing.labels.keys())),
        *(f"annotation {key}" for key in sorted(write.without_annotations & existing.annotations.keys())),
        *(f"owner {uid}" for uid in existing.owner_uids if uid == write.without_owner),
    ]


def _usual(issuer: str) -> Yaml:
    """What the Secret of leave/leave-worker holds beside the credential, if it asks for nothing."""
    return {
        "type": "oauth2",
        "provider": "scopewright",
        "client_id": "leave.leave-worker",
        "issuer": issuer,
        "token_endpoint": f"{issuer}/token",
        "jwks_uri": f"{issuer}/jwks.json",
    }


def _record(kind: type[R], given: Yaml) -> bytes:
    """As the operator would have written it; `malformed: true` as it never would."""
    if given.pop("malformed", False):
        return b"{"
    return encode(decode(kind, json.dumps(given).encode()))


def _private_key(name: str) -> ec.EllipticCurvePrivateKey:
    return ec.derive_private_key(int.from_bytes(hashlib.sha256(name.encode()).digest()), ec.SECP256R1())


def _pem(name: str) -> bytes:
    return _private_key(name).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
