"""`IssuerHarness`: an issuer in the test's process, on a store in memory, with a clock that the test sets."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import httpx
import jwt
import orjson

from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, FollowedKind, Ref
from scopewright.core.records.client import ClientRecord
from scopewright.core.records.codec import decode, encode
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import (
    CA_ENTRY,
    CLIENT_SECRET_ENTRY,
    CLIENT_TYPE,
    ENTRY,
    IDENTITY_PROVIDER_TYPE,
    ISSUER_NAME,
    KEY_ENTRY,
    NONCE_KEY_NAME,
    NONCE_KEY_TYPE,
    PRIVATE_KEY_ENTRY,
    RECORD_LABEL,
    REVOCATIONS_NAME,
    SESSION_KEY_NAME,
    SESSION_KEY_TYPE,
    SIGNING_KEY_TYPE,
    USERS_ENTRY,
    client_record_name,
    identity_provider_record_name,
    key_record_name,
    resource_server_record_name,
)
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.core.records.signing_key import KeyRecord
from scopewright.core.records.written_by_issuers import RevocationRecord
from scopewright.issuer.authentication.read_through import READ_BUDGET
from scopewright.issuer.build import IssuerSettings, Runtime, build_issuer
from scopewright.issuer.service import Issuer
from scopewright.issuer.serving.proxies import TrustedProxies
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.tokens.authorise import TOKEN_EXCHANGE
from scopewright.issuer.tokens.exchange import ACCESS_TOKEN
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.plan.memory_store import StoredObject
from scopewright.rate_budget import RateBudget
from scopewright.serving import audit
from scopewright.serving.replay import ReplayStore
from scopewright.stores import Change, ServiceAccountIssuer, Store
from scopewright.tracing import Tracing
from tests.harness.clock import START, Clock
from tests.harness.memory_store import MemoryStore
from tests.harness.samples import (
    ISSUER,
    JWKS,
    NAMESPACE,
    NONCE_KEY,
    PAYROLL,
    SECRET,
    PrivateKey,
    client_record,
    key_record,
    pem,
    private_key,
    server_record,
    service_records,
)
from tests.harness.transport import IssuerTransport

Record = ClientRecord | KeyRecord | ResourceServerRecord | IssuerRecord | RevocationRecord


def new_store() -> MemoryStore:
    """A store as an issuer sees one: other tasks run while it writes. Its objects are created at START."""
    return MemoryStore(lambda: START, concurrent=True)


@dataclass
class IssuerHarness:
    """An issuer, the store that it follows, and its clock. The test writes records and sends requests.

    The fields are settings: set them before `build` or `running`. A test that needs none of them takes the fixture
    `harness`, which is installed and running.

        harness = IssuerHarness(min_refusal=0.3)
        harness.install_defaults()                          # leave-worker may read at payroll-api
        async with harness.running():
            claims = await harness.claims(await harness.token())
            assert claims["scope"] == "payroll.read"
            harness.put(client_record(disabled=True))       # as the operator writes a record
            await settle()                                  # the issuer has followed it
            assert (await harness.token()).status_code == 401
            assert '"reason":"disabled"' in harness.audit_lines[-1]

    `harness.store` is a `MemoryStore`, which can be made to fail: `harness.store.unavailable = True`, for instance.
    A second issuer on the same store is `IssuerHarness(store=harness.store, clock=harness.clock)`; a restart is a
    second `running()` of the same harness.
    """

    store: MemoryStore = field(default_factory=new_store)
    clock: Clock = field(default_factory=Clock)
    monotonic: Callable[[], float] | None = None
    """For budgets and durations, in seconds. Default: `clock`, so that `clock.advance` refills budgets too."""
    can_write: bool = False
    """Whether the issuer may write to the store, and so has a revocation endpoint. Otherwise `/revoke` is 404."""
    reports: bool = True
    """Whether it reports what it uses, if it may write."""
    min_refusal: float = 0.0
    """Minimum duration of a response to a wrong credential, in seconds."""
    read_budget: RateBudget = READ_BUDGET
    """How often the issuer may read a record before it refuses."""
    snapshot: Path | None = None
    """The file to start from if the store does not answer within `store_timeout`."""
    store_timeout: float = 0.0
    proxies: TrustedProxies | None = None
    service_accounts: ServiceAccountIssuer | None = None
    replay: ReplayStore | None = None
    tracing: Tracing | None = None
    users: UserEndpointSettings | None = None
    """Default: there are no endpoints for users."""
    audit_lines: list[str] = field(default_factory=list)
    """Written by the issuer, as JSON."""
    issuer: Issuer = field(init=False)
    """Set by `build`."""
    http: httpx.AsyncClient = field(init=False)
    """Sends requests to the issuer without a network; open while it is `running`."""

    # The store's content

    def put(
        self, record: Record, *, notify: bool = True, created: datetime = START, private: PrivateKey | None = None
    ) -> None:
        """Write a record as the operator does; a key record with its private key. `notify=False`: the watch is late."""
        entries = {ENTRY: encode(record)}
        match record:
            case ClientRecord():
                name = client_record_name(record.namespace, record.name)
                self.put_object("Secret", name, entries, type=CLIENT_TYPE, notify=notify)
            case KeyRecord():
                if private is not None:
                    entries[PRIVATE_KEY_ENTRY] = pem(private)
                self.put_object("Secret", key_record_name(record.kid), entries, type=SIGNING_KEY_TYPE, notify=notify)
            case ResourceServerRecord():
                name = resource_server_record_name(record.namespace, record.name)
                self.put_object("ConfigMap", name, entries, label="resource-server", created=created, notify=notify)
            case IssuerRecord():
                self.put_object("ConfigMap", ISSUER_NAME, entries, label="issuer", notify=notify)
            case RevocationRecord():
                self.put_object("ConfigMap", REVOCATIONS_NAME, entries, label="revocations", notify=notify)

    def put_object(
        self,
        kind: FollowedKind,
        name: str,
        entries: Mapping[str, bytes],
        *,
        type: str = "",  # noqa: A002 (the field's own name)
        label: str = "",
        created: datetime = START,
        notify: bool = True,
    ) -> Change:
        """Write any object into the issuer's namespace; `label` is the kind of record. Returns the watch event."""
        labels = {MANAGED_BY: MANAGER} | ({RECORD_LABEL: label} if label else {})
        existing = Existing(Ref(kind, NAMESPACE, name), "", "", type, labels, creation_time=created)
        return Change(self.store.put(existing, entries, notify=notify), entries)

    def delete_object(self, kind: FollowedKind, name: str, *, notify: bool = True) -> Change:
        """Returns the watch event."""
        return self.store.delete_by_hand(Ref(kind, NAMESPACE, name), notify=notify)

    def stored(self, kind: FollowedKind, name: str) -> StoredObject:
        return self.store.objects[Ref(kind, NAMESPACE, name)]

    def revocations(self) -> RevocationRecord:
        """The revocation record as it is stored."""
        return decode(RevocationRecord, self.stored("ConfigMap", REVOCATIONS_NAME).entries[ENTRY])

    def put_key(self, algorithm: str = "ES256", number: int = 0, **changes: Any) -> KeyRecord:
        """Write `key_record(algorithm, number, **changes)` with its private key; it is not yet published."""
        record = key_record(algorithm, number, **changes)
        self.put(record, private=private_key(algorithm, number))
        return record

    def publish(self, *keys: Mapping[str, object], name: str = JWKS) -> None:
        """Write a JWKS of exactly these keys."""
        self.put_object("ConfigMap", name, {"jwks.json": orjson.dumps({"keys": keys})})

    def put_nonce_key(self, key: bytes = NONCE_KEY, name: str = NONCE_KEY_NAME) -> None:
        self.put_object("Secret", name, {KEY_ENTRY: key}, type=NONCE_KEY_TYPE)

    def put_session_key(self, entries: dict[str, bytes], name: str = SESSION_KEY_NAME) -> None:
        self.put_object("Secret", name, entries, type=SESSION_KEY_TYPE)

    def put_provider(self, provider: Provider) -> None:
        """Write the record of an identity provider, with its secrets."""
        entries = {
            ENTRY: encode(provider.record),
            CLIENT_SECRET_ENTRY: provider.client_secret.encode(),
            CA_ENTRY: provider.ca_certificates.encode(),
            USERS_ENTRY: provider.users,
        }
        self.put_object("Secret", identity_provider_record_name(provider.name), entries, type=IDENTITY_PROVIDER_TYPE)

    def delete_provider(self, name: str) -> None:
        """Delete the record of an identity provider."""
        self.delete_object("Secret", identity_provider_record_name(name))

    def install_defaults(self, issuer: str = ISSUER) -> None:
        """The issuer record, a published key, the key of DPoP nonces, `server_record()` and `client_record()`.

        With `can_write` also an empty revocation record, as the operator creates it.
        """
        self.put_nonce_key()
        self.put(IssuerRecord(issuer))
        self.publish(self.put_key().jwk)
        self.put(server_record())
        self.put(client_record())
        if self.can_write:
            self.put(RevocationRecord())

    def install_services(self) -> None:
        """The records of `service_records()`, in place of the default client and server."""
        for record in service_records():
            self.put(record)

    # The process

    def build(self) -> Issuer:
        """A new issuer from these settings, which is not running."""
        settings = IssuerSettings(
            NAMESPACE,
            snapshot=self.snapshot,
            store_timeout=self.store_timeout,
            min_refusal=self.min_refusal,
            read_budget=self.read_budget,
            proxies=self.proxies,
            reports=self.reports,
            users=self.users,
        )
        self.issuer = build_issuer(
            settings,
            self.store,
            writer=cast("Store", self.store) if self.can_write else None,
            service_accounts=self.service_accounts,
            replay=self.replay,
            sink=lambda entry: self.audit_lines.append(audit.line(entry).decode()),
            tracing=self.tracing,
            runtime=Runtime(self.clock, self.monotonic or self.clock),
        )
        return self.issuer

    @asynccontextmanager
    async def running(self) -> AsyncIterator["IssuerHarness"]:
        """A new issuer that runs inside the context, and has followed what the store holds."""
        transport = IssuerTransport(self.build())
        async with self.issuer.running(), httpx.AsyncClient(transport=transport, base_url="http://issuer") as self.http:
            await settle()
            yield self

    # Requests

    async def token(
        self, client_id: str = "leave.leave-worker", secret: str = SECRET, **parameters: str | list[str]
    ) -> httpx.Response:
        """Request a token with client_credentials."""
        form = {"grant_type": "client_credentials", **parameters}
        return await self.http.post("/token", data=form, auth=(client_id, secret))

    async def access_token(self, client_id: str = "leave.leave-worker", **parameters: str | list[str]) -> str:
        """Request a token that must be granted."""
        response = await self.token(client_id, SECRET, **parameters)
        assert response.status_code == 200, response.text
        return str(response.json()["access_token"])

    async def exchange(
        self, token: str, client_id: str, resource: str, **parameters: str | list[str]
    ) -> httpx.Response:
        """Request a token for `resource` in exchange for `token`."""
        form = {"subject_token": token, "subject_token_type": ACCESS_TOKEN, "resource": resource, **parameters}
        return await self.token(client_id, SECRET, grant_type=TOKEN_EXCHANGE, **form)

    async def post_token(
        self, path: str, token: str, client_id: str = "leave.leave-worker", **parameters: str
    ) -> httpx.Response:
        """Send a token to `/introspect` or `/revoke`."""
        return await self.http.post(path, data={"token": token, **parameters}, auth=(client_id, SECRET))

    async def introspect(self, token: str, client_id: str = "leave.leave-worker") -> dict[str, Any]:
        """The body of a successful introspection."""
        response = await self.post_token("/introspect", token, client_id)
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        return content

    async def revoke(self, token: str, client_id: str = "leave.leave-worker") -> None:
        """Revoke a token; the answer must be 200."""
        assert (await self.post_token("/revoke", token, client_id)).status_code == 200

    async def claims(self, response: httpx.Response, audience: str = PAYROLL) -> dict[str, Any]:
        """The claims of the token in a response, which PyJWT verifies with the JWKS that the issuer serves."""
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


async def settle() -> None:
    """Wait until the issuer has followed all that was put."""
    for _ in range(20):
        await asyncio.sleep(0)
