"""An issuer that recognises repeated requests, beside one that reads and verifies each: both must answer alike."""

import asyncio
import base64
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

import jwt
import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from hypothesis import given, settings
from hypothesis import strategies as st

from scopewright.bounded import RecentDict
from scopewright.core.objects import FollowedKind
from scopewright.core.records.client import Credential, RequestedAccess
from scopewright.core.records.issuer import IssuerRecord
from scopewright.core.records.names import client_record_name, resource_server_record_name
from scopewright.core.records.resource_server import ResolvedGrant, Role
from scopewright.http import Answer, HttpRequest
from scopewright.issuer.state import recognised
from scopewright.issuer.state.clients import ClientIndex
from scopewright.issuer.state.entries import Client, build_client
from scopewright.issuer.state.keys import raw_signature
from scopewright.issuer.state.recognised import Authenticated
from tests.harness.clock import START, Clock
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, PAYROLL, SECRET, api_record, client_record, key_record, server_record, sha256

FORM = b"application/x-www-form-urlencoded"
BANK = "https://bank-api.bank.svc"
NEW = "B" * 43
GRANT = "grant_type=client_credentials"
BOTH = (RequestedAccess("payroll/payroll-api", ("payroll.read",)), RequestedAccess("bank/bank-api", ("bank.pay",)))
ENDING = START + timedelta(minutes=5, milliseconds=500)

Step = Callable[[IssuerHarness], None]


def basic(secret: str = SECRET, user: str = "leave.leave-worker") -> dict[bytes, bytes]:
    return {b"authorization": b"Basic " + base64.b64encode(f"{user}:{secret}".encode()), b"content-type": FORM}


def post(body: str, headers: dict[bytes, bytes] | None = None, path: str = "/token", **more: Any) -> HttpRequest:
    content_type = {b"content-type": FORM}
    return HttpRequest("POST", path, headers=headers or content_type, body=body.encode(), peer="192.0.2.7", **more)


def posted(body: str, secret: str = SECRET) -> HttpRequest:
    return post(body + "&" + urlencode({"client_id": "leave.leave-worker", "client_secret": secret}))


PAY, BANKING = f"{GRANT}&resource={PAYROLL}", f"{GRANT}&resource={BANK}"
REQUESTS = [
    post(GRANT, basic()),
    post(PAY, basic()),
    post(PAY, basic(NEW)),
    post(PAY, basic("wrong")),
    post(BANKING, basic()),
    post(f"{BANKING}&scope=bank.pay", basic()),
    post(f"{PAY}&scope=payroll.write", basic()),
    post(f"{PAY}&client_id=leave.leave-worker", basic()),
    post(f"{PAY}&client_id=leave.another", basic()),
    post(f"{PAY}&client_secret={SECRET}", basic()),
    post(PAY, basic() | {b"content-type": b"Application/x-www-form-urlencoded;charset=UTF-8"}),
    post(PAY, basic() | {b"content-type": b"text/plain"}),
    post(PAY, basic() | {b"dpop": b"no proof"}),
    post(PAY, basic(), query=b"client_secret=x"),
    post(PAY, basic(), repeated=[b"authorization"]),
    post("grant_type=password", basic()),
    post("token=x", basic(), path="/introspect"),
    posted(GRANT),
    posted(PAY),
    posted(PAY, NEW),
    posted(PAY, "wrong"),
    posted(BANKING),
    replace(posted(PAY), path="/introspect"),
    replace(posted(PAY), headers={b"content-type": FORM, b"authorization": posted(PAY).body}),
    replace(post(PAY, basic()), method="PUT"),
]


def put_client(**changes: Any) -> Step:
    return lambda issuer: issuer.put(client_record(**{"access": BOTH, **changes}))


def put_payroll(**changes: Any) -> Step:
    return lambda issuer: issuer.put(server_record(**changes))


def put_issuer(**changes: Any) -> Step:
    return lambda issuer: issuer.put(IssuerRecord(ISSUER, **changes))


def delete(kind: FollowedKind, name: str) -> Step:
    def step(issuer: IssuerHarness) -> None:
        with suppress(KeyError):
            issuer.delete_object(kind, name)

    return step


def advance(**delta: float) -> Step:
    return lambda issuer: issuer.clock.advance(**delta)


def rotate(issuer: IssuerHarness) -> None:
    """Another key signs in a minute, for a shorter time than the first one."""
    start = issuer.clock.now + timedelta(minutes=1)
    end: dict[str, Any] = {
        "signing_end_time": start + timedelta(minutes=20),
        "verification_end_time": start + timedelta(minutes=40),
    }
    second = issuer.put_key(number=1, signing_start_time=start, **end)
    issuer.publish(key_record().jwk, second.jwk)


OLD = Credential(sha256(SECRET), START, expiration_time=ENDING)
CHANGES: list[Step] = [
    put_client(),
    put_client(disabled=True),
    put_client(credentials=(Credential(sha256(NEW), START),)),
    put_client(credentials=(OLD, Credential(sha256(NEW), START))),
    put_client(credentials=(OLD, Credential(sha256(SECRET), START, START + timedelta(minutes=9)))),
    put_client(access=BOTH[:1]),
    put_client(access=BOTH[1:]),
    put_client(grant_types=("authorization_code",)),
    put_client(dpop_required=True),
    put_client(method="PrivateKeyJWT", credentials=()),
    delete("Secret", client_record_name("leave", "leave-worker")),
    put_payroll(),
    put_payroll(lifetime=77),
    put_payroll(grants=(ResolvedGrant(("payroll.read",), namespaces=("leave",), not_after=ENDING),)),
    put_payroll(grants=()),
    put_payroll(audience="https://moved.example.org"),
    put_payroll(audience=BANK),
    put_payroll(dpop_required=True),
    put_payroll(scopes_list_claim=True, roles=(Role("reader", ("payroll.read",)),)),
    put_payroll(signing_key="another"),
    delete("ConfigMap", resource_server_record_name("payroll", "payroll-api")),
    put_issuer(),
    put_issuer(profile="FAPI2"),
    put_issuer(max_token_lifetime=33),
    put_issuer(clock_skew=120),
    rotate,
    lambda issuer: issuer.publish(key_record().jwk),
    lambda issuer: issuer.publish(),
    advance(seconds=1),
    advance(seconds=59.5),
    advance(minutes=4),
    advance(minutes=-3),
    advance(days=36),
    advance(days=2),
]


@dataclass
class Twins:
    """The issuer under test, and its slow twin, which forgets after each request."""

    fast: IssuerHarness
    slow: IssuerHarness

    async def send(self, request: HttpRequest) -> None:
        registry = self.slow.issuer.registry
        registry.clients.recognised.__init__(registry.clients.get)  # type: ignore[misc]
        for client in registry.clients:
            client.recognised, client.repeated = (), ()
        seen = [await observed(issuer, request) for issuer in (self.fast, self.slow)]
        assert seen[0] == seen[1]


async def observed(issuer: IssuerHarness, request: HttpRequest) -> Any:
    """What a caller and an operator see: the answer, the claims, the audit line."""
    decided = issuer.issuer.decide(replace(request, headers=dict(request.headers)))
    answer = decided if isinstance(decided, Answer) else await decided
    content, line = orjson.loads(answer.body), orjson.loads(issuer.audit_lines[-1])
    token, jti = content.pop("access_token", ""), line.pop("jti", "")
    claims: dict[str, Any] = jwt.decode(token, options={"verify_signature": False}) if token else {}
    assert claims.pop("jti", "") == jti
    header = jwt.get_unverified_header(token) if token else {}
    return answer.status, answer.headers, content, header, claims, line, len(issuer.audit_lines)


def counted(issuer: IssuerHarness) -> list[bytes]:
    return [line for line in issuer.issuer.metrics.answer().body.splitlines() if b"_seconds" not in line]


async def play(history: list[HttpRequest | Step]) -> None:
    clock = Clock()
    twins = Twins(IssuerHarness(clock=clock), IssuerHarness(clock=Clock()))
    both = twins.fast, twins.slow
    for issuer in both:
        issuer.install_defaults()
        issuer.put(api_record("bank", "bank.pay"))
        issuer.put(client_record(access=BOTH))
    async with twins.fast.running(), twins.slow.running():
        for step in history:
            if isinstance(step, HttpRequest):
                await twins.send(step)
                continue
            for issuer in both:
                step(issuer)
            await settle()
        assert counted(twins.fast) == counted(twins.slow)


@given(st.lists(st.one_of(st.sampled_from(REQUESTS), st.sampled_from(CHANGES)), min_size=2, max_size=30))
@settings(max_examples=40, deadline=None)
def test_a_recognised_request_is_answered_as_any_other(history: list[HttpRequest | Step]) -> None:
    asyncio.run(play(history))


@pytest.mark.parametrize("change", range(len(CHANGES)))
def test_every_change_between_two_requests_is_noticed(change: int) -> None:
    """Each request before the change, after it, and after the change is undone."""
    asyncio.run(play([*REQUESTS[:8], *REQUESTS[17:22], *REQUESTS, CHANGES[change], *REQUESTS, put_client(), *REQUESTS]))


async def test_repeated_requests_are_recognised(harness: IssuerHarness) -> None:
    """Otherwise the tests above would show nothing."""
    for request in (post(PAY, basic()), posted(PAY)):
        for _ in range(3):
            assert isinstance(answer := harness.issuer.decide(request), Answer)
            assert answer.status == 200
    (client,) = harness.issuer.registry.clients
    assert (len(client.recognised), len(client.repeated)) == (2, 1)
    assert len(harness.issuer.registry.clients.recognised) == 2


async def test_nothing_of_a_refused_request_is_kept(harness: IssuerHarness) -> None:
    for request in REQUESTS:
        before = len(harness.issuer.registry.clients.recognised)
        decided = harness.issuer.decide(request)
        answer = decided if isinstance(decided, Answer) else await decided
        assert answer.status == 200 or len(harness.issuer.registry.clients.recognised) == before


def new_client(name: str, version: str = "1") -> Client:
    return build_client(replace(client_record(), name=name), version)


def authenticated(client: Client, **changes: Any) -> Authenticated:
    return Authenticated(client, b"d" * 32, IssuerRecord(ISSUER), **{"until": 100.0, **changes})


def test_a_client_displaces_only_its_own_entries(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognised, "MAX_FURTHER", 20)
    index, clients = ClientIndex(), [new_client(f"c{n}") for n in range(50)]
    for client in clients:
        index.put(client)
    accepted = [authenticated(client) for client in clients]
    for n, spelling in ((n, spelling) for spelling in range(30) for n in range(50) if not spelling or n < 5):
        index.recognised.remember(b"%d %d" % (n, spelling), b"", accepted[n], "client_secret_basic", None, None)
    assert len(index.recognised) == sum(len(c.recognised) for c in clients) <= 50 + 20
    assert max(len(c.recognised) for c in clients) <= recognised.MAX_OF_CLIENT
    for n in range(5, 50):
        assert index.recognised.find(b"%d 0" % n, b"", accepted[n].issuer, 0.0) is not None
    for client in clients:
        index.remove(client.client_id)
    assert not len(index.recognised)


def test_an_entry_is_found_while_everything_that_it_relies_on_is_the_same() -> None:
    index, client, holds = ClientIndex(), new_client("c"), [True]
    index.put(client)
    accepted = authenticated(client, since=10.0, holds=lambda: holds[0])
    issuer = accepted.issuer
    index.recognised.remember(b"header", b"", accepted, "client_secret_basic", None, None)

    def found(header: bytes | None = b"header", body: bytes = b"", now: float = 10.0) -> bool:
        return index.recognised.find(header, body, issuer, now) is not None

    assert found()
    assert not found(b"other")
    assert not found(None, b"header")
    assert not found(now=9.9)
    assert found(now=99.9)
    assert not found(now=100.0)
    assert index.recognised.find(b"header", b"", IssuerRecord(ISSUER), 10.0) is None
    holds[0] = False
    assert not found()
    holds[0] = True
    index.put(new_client("c", "2"))
    assert not found()
    index.recognised.remember(b"header", b"", accepted, "client_secret_basic", None, None)
    assert not len(index.recognised), "the record was replaced while its request was answered"


def test_single_use_credentials_and_long_bodies_are_not_entered() -> None:
    index, client = ClientIndex(), new_client("c")
    index.put(client)
    index.recognised.remember(b"header", b"", Authenticated(client, b""), "private_key_jwt", None, None)
    long = b"x" * (recognised.MAX_BODY_BYTES + 1)
    index.recognised.remember(None, long, authenticated(client), "client_secret_post", None, None)
    assert not len(index.recognised)


def test_recent_dict_keeps_what_is_in_use() -> None:
    recent: RecentDict[int, int] = RecentDict(10)
    for n in range(1, 1000):
        recent[n] = n
        assert recent.setdefault(0, 1) == recent.get(0) == 1
        assert len(recent) <= 20
    assert recent.get(5) is None


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1()])
@given(data=st.data())
def test_raw_signature_is_that_of_a_parser(curve: ec.EllipticCurve, data: st.DataObject) -> None:
    size = curve.key_size // 8
    numbers = st.one_of(
        st.integers(1, 2 ** (8 * size) - 1), st.integers(1, 2**20), st.integers(0, 8 * size - 1).map(lambda n: 2**n)
    )
    r, s = data.draw(numbers), data.draw(numbers)
    assert raw_signature(encode_dss_signature(r, s), size) == r.to_bytes(size) + s.to_bytes(size)
