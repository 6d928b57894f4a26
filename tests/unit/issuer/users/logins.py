"""An issuer with users and a client that they log in through, and logins without pages: codes as pages write them."""

import base64
import hashlib
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import jwt

from scopewright.core.records.client import ClientRecord, Credential, Login, RequestedAccess
from scopewright.core.records.names import KEY_ENTRY
from scopewright.core.records.resource_server import Role, UserGrant
from scopewright.core.users import subject_of
from scopewright.issuer.state.providers import Provider
from scopewright.issuer.upstream.authenticated_user import AuthenticatedUser
from scopewright.issuer.upstream.login import PasswordLogins, UpstreamLogins
from scopewright.issuer.users.codes import Codes
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.developer_login import DeveloperLogin
from scopewright.issuer.users.sessions import UserSessions
from scopewright.issuer.users.settings import UserEndpointSettings
from scopewright.issuer.users.stored import Code, DelegatedAccess, Session
from scopewright.stores.sessions import SessionStore
from scopewright.stores.sessions.sealed import SealedSessions
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import ISSUER, SECRET, client_record, server_record, sha256

CALLBACK = "https://hr.example/callback"
CLIENT_ID = "leave.leave-worker"
VERIFIER = "v" * 43
SCOPES = ("openid", "profile", "email", "groups")
PAYROLL_ACCESS = RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write"))


def user(name: str = "ada", *groups: str, **claims: Any) -> AuthenticatedUser:
    """A user of the developer login, in `hr-staff` if no other groups are given."""
    claims = {"name": name.title(), "email": f"{name}@hr.example", "email_verified": True} | claims
    subject = subject_of("static:developer", name)
    return AuthenticatedUser(subject, "developer login", "uid", groups or ("hr-staff",), int(START.timestamp()), claims)


def web_client(**changes: Any) -> ClientRecord:
    """The confidential client `leave/leave-worker`, through which users log in."""
    login = Login((CALLBACK,), refresh_idle_timeout=8 * 3600, refresh_max_lifetime=12 * 3600)
    fields: dict[str, Any] = {
        "grant_types": ("authorization_code", "refresh_token"),
        "access": (PAYROLL_ACCESS,),
        "login": login,
    }
    return client_record(**fields | changes)


def public_client(**changes: Any) -> ClientRecord:
    return web_client(public=True, credentials=(), **changes)


def other_client(**changes: Any) -> ClientRecord:
    """`leave/other`, with a secret of its own."""
    return web_client(name="other", uid="uid-other", credentials=(Credential(sha256("B" * 43), START),), **changes)


def granting_server(**changes: Any) -> Any:
    """`payroll/payroll-api`: staff may read, managers may write, both through clients of `leave`."""
    both = ("payroll.read", "payroll.write")
    grants = (
        UserGrant(("payroll.read",), groups=("hr-staff",), namespaces=("leave",)),
        UserGrant(both, roles=("manager",), groups=("managers",), namespaces=("leave",)),
    )
    return server_record(**{"roles": (Role("manager", both),), "user_grants": grants} | changes)


@dataclass
class Logins:
    """Logs users in at a running harness. `client` is the client record that is installed."""

    harness: IssuerHarness
    sealed: SealedSessions
    sessions: UserSessions
    record: ClientRecord = field(default_factory=web_client)

    @property
    def consents(self) -> Consents:
        revocations = self.harness.issuer.background.revocations
        return Consents(self.sealed, self.harness.issuer.registry.server_of, revocations.end_consent)

    def sessions_with_revocations(self) -> UserSessions:
        """As the pages end them."""
        return UserSessions(self.sealed, self.harness.issuer.background.revocations.end_sessions)

    async def session(self, who: AuthenticatedUser | None = None) -> Session:
        return (await self.sessions.begin(who or user()))[1]

    async def code(
        self,
        session: Session,
        scopes: tuple[str, ...] = SCOPES,
        access: tuple[RequestedAccess, ...] = (PAYROLL_ACCESS,),
        *,
        jkt: str = "",
        nonce: str = "n-1",
        verifier: str = VERIFIER,
        client_id: str = CLIENT_ID,
    ) -> str:
        """A code as `/authorize` issues it after a consent, unless the client needs none."""
        client = self.harness.issuer.registry.clients.get(client_id)
        assert client is not None
        delegated = DelegatedAccess(client_id, client.uid_hash, session.sid, session.subject, scopes, access, jkt)
        if client.login and client.login.consent != "Skip":
            await self.consents.remember(client, delegated)
        code = Code(delegated, CALLBACK, s256(verifier) if verifier else "", nonce)
        return await Codes(self.sealed).issue(code)

    async def redeem(self, code: str, *, secret: str | None = SECRET, **changes: Any) -> httpx.Response:
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": CALLBACK, "code_verifier": VERIFIER}
        return await self.post(form | changes, secret)

    async def refresh(self, token: str, *, secret: str | None = SECRET, **changes: Any) -> httpx.Response:
        return await self.post({"grant_type": "refresh_token", "refresh_token": token, **changes}, secret)

    async def post(self, form: dict[str, Any], secret: str | None, path: str = "/token") -> httpx.Response:
        """A request of the client; without `secret` as a public one. Parameters that are None are removed."""
        headers = {"DPoP": proof} if (proof := form.pop("proof", None)) else {}
        client_id = form.pop("client", CLIENT_ID)
        form = {name: value for name, value in form.items() if value is not None}
        if secret is None:
            return await self.harness.http.post(path, data=form | {"client_id": client_id}, headers=headers)
        return await self.harness.http.post(path, data=form, auth=(client_id, secret), headers=headers)

    async def tokens(self, who: AuthenticatedUser | None = None, **of_code: Any) -> dict[str, Any]:
        """The token response of a new login."""
        secret = None if self.record.public else SECRET
        response = await self.redeem(await self.code(await self.session(who), **of_code), secret=secret)
        assert response.status_code == 200, response.text
        content: dict[str, Any] = response.json()
        return content

    async def verified(self, token: str, audience: str) -> dict[str, Any]:
        """The claims of a token, verified by PyJWT with the JWKS of the issuer."""
        keys = jwt.PyJWKSet.from_dict((await self.harness.http.get("/jwks.json")).json())
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

    async def put(self, *records: Any) -> None:
        for record in records:
            self.harness.put(record)
        await settle()


@asynccontextmanager
async def running_logins(
    record: ClientRecord | None = None,
    store: SessionStore | None = None,
    *,
    upstreams: UpstreamLogins | None = None,
    passwords: PasswordLogins | None = None,
    providers: Iterable[Provider] = (),
    developer: bool = True,
    **settings: Any,
) -> AsyncIterator[Logins]:
    """An issuer with users, `granting_server()` and `record`, by default `web_client()`.

    With `developer`, there is the developer login while there are no providers.
    """
    harness = IssuerHarness(can_write=True, **settings)
    store = store or MemorySessions(harness.clock)
    login = DeveloperLogin(Path("users.yaml")) if developer else None
    harness.users = UserEndpointSettings(store, login, upstreams=upstreams, passwords=passwords)
    for provider in providers:
        harness.put_provider(provider)
    harness.install_defaults()
    rsa = harness.put_key("RS256", 1, signing_key="id-tokens")
    harness.publish(harness.put_key().jwk, rsa.jwk)
    harness.put_session_key({KEY_ENTRY: b"s" * 32})
    harness.put(granting_server())
    harness.put(record := record or web_client())
    async with harness.running():
        sealed = SealedSessions(store, lambda: ISSUER, lambda: harness.issuer.registry.session_keys, harness.clock)
        yield Logins(harness, sealed, UserSessions(sealed), record)


def s256(verifier: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
