"""`IssuerHarness`: an issuer in the test's process, on a store in memory, with a clock that the test sets."""

import asyncio
import base64
import hashlib
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any, cast

import httpx
import jwt
import orjson
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from scopewright.core.failures import Conflict, Unavailable
from scopewright.core.objects import MANAGED_BY, MANAGER, Desired, Existing, FollowedKind, Ref
from scopewright.core.records.client import ClientRecord, Credential, RequestedAccess
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    CLIENT_TYPE,
    ENTRY,
    ISSUER_NAME,
    KEY_ENTRY,
    NONCE_KEY_NAME,
    NONCE_KEY_TYPE,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    REVOCATIONS_NAME,
    SIGNING_KEY_TYPE,
    client_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResolvedGrant, ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.issuer.authentication.read_through import READ_BUDGET
from scopewright.issuer.authentication.replay import ReplayStore
from scopewright.issuer.build import IssuerSettings, Runtime, build_issuer
from scopewright.issuer.observability import audit
from scopewright.issuer.rate_budget import RateBudget
from scopewright.issuer.service import Issuer
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN
from scopewright.stores import Change, Entries, ListCompleted, Selection, ServiceAccountIssuer
from scopewright.stores import Store as StoreProtocol
from scopewright.tracing import Tracing
from scopewright.verifier.thumbprint import thumbprint
from tests.harness.clock import START, Clock
from tests.harness.transport import InMemory

NAMESPACE = "scopewright-system"
ISSUER = "https://issuer.example.org"
JWKS = "scopewright-jwks"
SECRET = "A" * 43
NONCE_KEY = b"n" * 32
PAYROLL = "https://payroll-api.payroll.svc"

Private = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | ed25519.Ed25519PrivateKey


class Store:
    """What is put is read at once, and followed unless it is put `unseen`. `writable` says whether writes succeed."""

    def __init__(self) -> None:
        self.writable = True
        self.writes: list[Desired] = []
        self.objects: dict[Ref, tuple[Existing, Entries]] = {}
        self.reads: list[Ref] = []
        self.reading = asyncio.Event()
        self.down = False
        self.gate: asyncio.Event | None = None
        self._followers: list[tuple[FollowedKind, asyncio.Queue[Change | ListCompleted]]] = []
        self._version = 100

    async def read(self, ref: Ref) -> tuple[Existing, Entries] | None:
        self.reads.append(ref)
        self.reading.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            raise Unavailable("no connection", retry_after=3.0)
        return self.objects.get(ref)

    async def write(self, desired: Desired) -> Existing:
        if self.down or not self.writable:
            raise Unavailable("no connection", retry_after=3.0)
        existing, _ = self.objects.get(desired.ref, (None, None))
        await asyncio.sleep(0)
        if existing is not desired.replaces or self.objects.get(desired.ref, (None,))[0] is not existing:
            raise Conflict("somebody else has written")
        self.writes.append(desired)
        entries = {name: value for name, value in desired.entries.items() if isinstance(value, bytes)}
        return self.put("ConfigMap", desired.ref.name, entries, label=desired.labels[RECORD_LABEL]).existing

    async def follow(self, selection: Selection) -> AsyncIterator[Change | ListCompleted]:
        if self.down:
            raise Unavailable("no connection")
        queue: asyncio.Queue[Change | ListCompleted] = asyncio.Queue()
        for event in self._list(selection.kind):
            queue.put_nowait(event)
        self._followers.append((selection.kind, queue))
        while True:
            yield await queue.get()

    def _list(self, kind: FollowedKind) -> list[Change | ListCompleted]:
        mine = {ref: found for ref, found in self.objects.items() if ref.kind == kind}
        return [*(Change(*found) for found in mine.values()), ListCompleted(frozenset(mine))]

    def relist(self) -> None:
        for kind, queue in self._followers:
            for event in self._list(kind):
                queue.put_nowait(event)

    def put(
        self,
        kind: FollowedKind,
        name: str,
        entries: Entries,
        *,
        of_type: str = "",
        label: str = "",
        created: datetime = START,
        seen: bool = True,
    ) -> Change:
        self._version += 1
        labels = {MANAGED_BY: MANAGER} | ({RECORD_LABEL: label} if label else {})
        existing = Existing(
            Ref(kind, NAMESPACE, name), f"uid-{name}", str(self._version), of_type, labels, creation_time=created
        )
        self.objects[existing.ref] = (existing, entries)
        return self._tell(Change(existing, entries), seen)

    def revocations(self) -> RevocationRecord:
        return decode(RevocationRecord, self.objects[Ref("ConfigMap", NAMESPACE, REVOCATIONS_NAME)][1][ENTRY])

    def delete(self, kind: FollowedKind, name: str, *, seen: bool = True) -> Change:
        existing, _ = self.objects.pop(Ref(kind, NAMESPACE, name))
        return self._tell(Change(existing, {}, deleted=True), seen)

    def _tell(self, change: Change, seen: bool) -> Change:
        for kind, queue in self._followers:
            if seen and kind == change.existing.ref.kind:
                queue.put_nowait(change)
        return change


def private_key(algorithm: str, number: int = 0) -> Private:
    """Always the same key for the same number."""
    return _private_key(algorithm, number)


@cache
def _private_key(algorithm: str, number: int) -> Private:
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "Ed25519":
            return ed25519.Ed25519PrivateKey.generate()
        case _:
            return rsa.generate_private_key(65537, 2048)


def pem(private: Private) -> bytes:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def public_jwk(private: Private, algorithm: str) -> dict[str, str]:
    public: Any = private.public_key()
    if isinstance(private, ed25519.Ed25519PrivateKey):
        jwk = {"kty": "OKP", "crv": "Ed25519", "x": _b64(public.public_bytes_raw())}
    elif isinstance(private, rsa.RSAPrivateKey):
        n, e = public.public_numbers().n, public.public_numbers().e
        jwk = {"kty": "RSA", "n": _b64(n.to_bytes(256)), "e": _b64(e.to_bytes(3))}
    else:
        numbers, size = public.public_numbers(), private.curve.key_size // 8
        jwk = {"kty": "EC", "crv": f"P-{private.curve.key_size}"}
        jwk |= {"x": _b64(numbers.x.to_bytes(size)), "y": _b64(numbers.y.to_bytes(size))}
    alg = "EdDSA" if algorithm == "Ed25519" else algorithm
    return jwk | {"kid": thumbprint(jwk), "use": "sig", "alg": alg}


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def key_record(algorithm: str = "ES256", number: int = 0, **changes: Any) -> KeyRecord:
    jwk = public_jwk(private_key(algorithm, number), algorithm)
    record = KeyRecord(
        kid=jwk["kid"],
        signing_key="default",
        algorithm=algorithm,
        config_map=JWKS,
        jwk=jwk,
        creation_time=START,
        signing_start_time=START - timedelta(hours=1),
        signing_end_time=START + timedelta(days=37),
        verification_end_time=START + timedelta(days=38),
    )
    return replace(record, **changes)


def sha256(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def client_record(**changes: Any) -> ClientRecord:
    record = ClientRecord(
        namespace="leave",
        name="leave-worker",
        uid="uid-1",
        credentials=(Credential(sha256(SECRET), START),),
        access=(RequestedAccess("payroll/payroll-api", ("payroll.read",)),),
    )
    return replace(record, **changes)


def server_record(**changes: Any) -> ResourceServerRecord:
    record = ResourceServerRecord(
        namespace="payroll",
        name="payroll-api",
        uid="uid-2",
        audience=PAYROLL,
        scopes=("payroll.read", "payroll.write"),
        grants=(ResolvedGrant(("payroll.read",), namespaces=("leave",)),),
    )
    return replace(record, **changes)


@dataclass
class IssuerHarness:
    store: Store = field(default_factory=Store)
    clock: Clock = field(default_factory=Clock)
    lines: list[str] = field(default_factory=list)
    floor: float = 0.0
    reads: RateBudget = READ_BUDGET
    monotonic: Callable[[], float] = time.monotonic
    snapshot: Path | None = None
    patience: float = 0.0
    proxies: TrustedProxies | None = None
    revoking: bool = False
    """Whether the issuer may write, and so has a revocation endpoint."""
    service_accounts: ServiceAccountIssuer | None = None
    replay: ReplayStore | None = None
    tracing: Tracing | None = None
    issuer: Issuer = field(init=False)
    http: httpx.AsyncClient = field(init=False)

    def put(self, record: Any, *, seen: bool = True, created: datetime = START, private: Private | None = None) -> None:
        entries = {ENTRY: encode(record)}
        match record:
            case ClientRecord():
                name = client_record_name(record.namespace, record.name)
                self.store.put("Secret", name, entries, of_type=CLIENT_TYPE, seen=seen)
            case KeyRecord():
                if private is not None:
                    entries[PRIVATE_KEY_ENTRY] = pem(private)
                self.store.put("Secret", key_record_name(record.kid), entries, of_type=SIGNING_KEY_TYPE, seen=seen)
            case ResourceServerRecord():
                name = resource_server_record_name(record.namespace, record.name)
                self.store.put("ConfigMap", name, entries, label="resource-server", created=created, seen=seen)
            case IssuerRecord():
                self.store.put("ConfigMap", ISSUER_NAME, entries, label="issuer", seen=seen)
            case RevocationRecord():
                self.store.put("ConfigMap", REVOCATIONS_NAME, entries, label="revocations", seen=seen)

    def put_key(self, algorithm: str = "ES256", number: int = 0, **changes: Any) -> KeyRecord:
        record = key_record(algorithm, number, **changes)
        self.put(record, private=private_key(algorithm, number))
        return record

    def publish(self, *keys: Mapping[str, object], name: str = JWKS) -> None:
        self.store.put("ConfigMap", name, {"jwks.json": orjson.dumps({"keys": keys})})

    def put_nonce_key(self, key: bytes = NONCE_KEY, name: str = NONCE_KEY_NAME) -> None:
        self.store.put("Secret", name, {KEY_ENTRY: key}, of_type=NONCE_KEY_TYPE)

    def furnish(self, issuer: str = ISSUER) -> None:
        """One client, one resource server, one grant, one key, and the key of the DPoP nonces."""
        self.put_nonce_key()
        self.put(IssuerRecord(issuer))
        self.publish(self.put_key().jwk)
        self.put(server_record())
        self.put(client_record())

    def make_issuer(self) -> Issuer:
        settings = IssuerSettings(
            NAMESPACE,
            snapshot=self.snapshot,
            store_timeout=self.patience,
            min_refusal=self.floor,
            read_budget=self.reads,
            proxies=self.proxies,
        )
        self.issuer = build_issuer(
            settings,
            self.store,
            writer=cast("StoreProtocol", self.store) if self.revoking else None,
            service_accounts=self.service_accounts,
            replay=self.replay,
            sink=lambda entry: self.lines.append(audit.line(entry).decode()),
            tracing=self.tracing,
            runtime=Runtime(self.clock, self.monotonic),
        )
        return self.issuer

    @asynccontextmanager
    async def running(self) -> AsyncIterator["IssuerHarness"]:
        transport = InMemory(self.make_issuer())
        async with self.issuer.running(), httpx.AsyncClient(transport=transport, base_url="http://issuer") as self.http:
            await settle()
            yield self

    async def token(
        self, client_id: str = "leave.leave-worker", secret: str = SECRET, **parameters: str | list[str]
    ) -> httpx.Response:
        form = {"grant_type": "client_credentials", **parameters}
        return await self.http.post("/token", data=form, auth=(client_id, secret))

    async def access_token(self, client_id: str = "leave.leave-worker", **parameters: str | list[str]) -> str:
        response = await self.token(client_id, SECRET, **parameters)
        assert response.status_code == 200, response.text
        return str(response.json()["access_token"])

    async def ask(self, path: str, token: str, client_id: str = "leave.leave-worker", **more: str) -> httpx.Response:
        """Of the endpoints that take a token: introspection and revocation."""
        return await self.http.post(path, data={"token": token, **more}, auth=(client_id, SECRET))

    async def introspect(self, token: str, client_id: str = "leave.leave-worker") -> dict[str, Any]:
        response = await self.ask("/introspect", token, client_id)
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        return content

    async def revoke(self, token: str, client_id: str = "leave.leave-worker") -> None:
        assert (await self.ask("/revoke", token, client_id)).status_code == 200

    async def exchange(self, token: str, client_id: str, resource: str, **more: str | list[str]) -> httpx.Response:
        form = {"subject_token": token, "subject_token_type": ACCESS_TOKEN, "resource": resource, **more}
        return await self.token(client_id, SECRET, grant_type=TOKEN_EXCHANGE, **form)

    async def claims(self, response: httpx.Response, audience: str = PAYROLL) -> dict[str, Any]:
        """Verified by a library that is not ours, with the key set that is served."""
        assert response.status_code == 200, response.text
        token = response.json()["access_token"]
        keys = jwt.PyJWKSet.from_dict((await self.http.get("/jwks.json")).json())
        key = next(k for k in keys.keys if k.key_id == jwt.get_unverified_header(token)["kid"])
        claims: dict[str, Any] = jwt.decode(
            token,
            key,
            algorithms=[str(key.algorithm_name)],
            audience=audience,
            issuer=ISSUER,
            options={"verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        return claims


SERVICE, BANK_SERVICE, VAULT_SERVICE = "payroll.payroll-service", "bank.bank-service", "vault.vault-service"
BANK, VAULT = "https://bank-api.bank.svc", "https://vault-api.vault.svc"
_EXCHANGING = ("client_credentials", TOKEN_EXCHANGE)


def service_record(name: str = "payroll", *asked: RequestedAccess, **changes: Any) -> ClientRecord:
    """The client that is an API, and asks for access to the next ones."""
    return client_record(
        namespace=name,
        name=f"{name}-service",
        uid=f"uid-{name}",
        grant_types=_EXCHANGING,
        access=asked
        or (
            RequestedAccess("bank/bank-api", ("bank.pay", "bank.look")),
            RequestedAccess("vault/vault-api", ("vault.open",)),
        ),
        **changes,
    )


def api_record(name: str, *scopes: str, **changes: Any) -> ResourceServerRecord:
    """An API that grants everything to everybody who asks."""
    record = server_record(
        namespace=name,
        name=f"{name}-api",
        uid=f"uid-{name}-api",
        audience=f"https://{name}-api.{name}.svc",
        scopes=scopes,
        served_by=(f"{name}.{name}-service",),
        grants=(ResolvedGrant(scopes, everybody=True),),
    )
    return replace(record, **changes)


def put_services(harness: "IssuerHarness") -> None:
    """The leave worker calls payroll, payroll calls the bank, the bank calls the vault; each is an API and a client."""
    harness.put(server_record(served_by=(SERVICE,)))
    harness.put(api_record("bank", "bank.pay", "bank.look", "bank.close"))
    harness.put(api_record("vault", "vault.open"))
    for name in ("payroll", "bank", "vault"):
        harness.put(service_record(name))
    asked = (
        RequestedAccess("payroll/payroll-api", ("payroll.read",)),
        RequestedAccess("bank/bank-api", ("bank.pay", "bank.close")),
        RequestedAccess("vault/vault-api", ("vault.open",)),
    )
    harness.put(client_record(access=asked))


async def settle() -> None:
    """Until everything that was put has been followed."""
    for _ in range(20):
        await asyncio.sleep(0)
