"""Consents: what they cover, when they end, and that they belong to this application and this API."""

import asyncio
from dataclasses import dataclass, field, replace

import pytest

from scopewright.core.records.client import ClientRecord, Login, RequestedAccess
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.issuer.state.entries import Client, ResourceServerEntry, build_client, build_server
from scopewright.issuer.users.compare_and_set import save_or_lose
from scopewright.issuer.users.consents import Consents
from scopewright.issuer.users.stored import DelegatedAccess
from scopewright.issuer.users.user_record import (
    MAX_CONSENT_BYTES,
    MAX_CONSENTS,
    ListedFamily,
    family_handle,
    user_handle,
    user_of,
    with_family,
)
from scopewright.stores.sessions.sealed import Save, SealedSessions, SessionKeys
from tests.harness.clock import Clock
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import ISSUER, client_record, server_record

READ, BOTH = ("payroll.read",), ("payroll.read", "payroll.write")
PAYROLL, LEAVE = "payroll/payroll-api", "leave/leave-api"
SUBJECT = "u-ada"


def web_client(**changes: object) -> ClientRecord:
    record = client_record(login=Login(("https://hr.example/callback",)))
    return replace(record, **changes)  # type: ignore[arg-type]


def entry(record: ClientRecord) -> Client:
    return build_client(record, "1")


def delegated(
    *access: tuple[str, tuple[str, ...]], scopes: tuple[str, ...] = (), sub: str = SUBJECT
) -> DelegatedAccess:
    requested = tuple(RequestedAccess(server, of_server) for server, of_server in access)
    return DelegatedAccess("leave.leave-worker", "hash", "sid", sub, scopes, requested)


@dataclass
class Given:
    clock: Clock = field(default_factory=Clock)
    servers: dict[str, ResourceServerRecord] = field(
        default_factory=lambda: {
            PAYROLL: server_record(),
            LEAVE: server_record(namespace="leave", name="leave-api", uid="uid-leave"),
        }
    )

    def __post_init__(self) -> None:
        self.store = MemorySessions(self.clock)
        self.sealed = SealedSessions(self.store, lambda: ISSUER, lambda: SessionKeys(b"k" * 32), self.clock)
        self.consents = Consents(self.sealed, self.server_of)

    def server_of(self, access: RequestedAccess) -> ResourceServerEntry | None:
        record = self.servers.get(access.resource_server)
        return build_server("resourceserver", record, None) if record else None


@pytest.fixture
def given() -> Given:
    return Given()


CLIENT = entry(web_client())


async def test_nothing_is_covered_before_a_consent(given: Given) -> None:
    assert not await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))
    assert not await given.consents.covers(CLIENT, delegated(scopes=("openid",)))
    assert not await given.consents.covers(CLIENT, delegated())


async def test_a_consent_covers_its_scopes_and_fewer(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, BOTH), scopes=("openid", "email")))
    for covered in (
        delegated((PAYROLL, BOTH), scopes=("openid", "email")),
        delegated((PAYROLL, READ)),
        delegated(scopes=("openid",)),
    ):
        assert await given.consents.covers(CLIENT, covered)
    for more in (
        delegated((PAYROLL, (*BOTH, "payroll.delete"))),
        delegated((PAYROLL, READ), (LEAVE, READ)),
        delegated((PAYROLL, READ), scopes=("openid", "phone")),
        delegated((PAYROLL, READ), sub="u-eve"),
        delegated(("payroll/unknown", READ)),
        delegated(scopes=BOTH),
    ):
        assert not await given.consents.covers(CLIENT, more)


async def test_consents_add_up(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ), scopes=("openid",)))
    await given.consents.remember(CLIENT, delegated((PAYROLL, ("payroll.write",)), (LEAVE, READ), scopes=("email",)))
    assert await given.consents.covers(CLIENT, delegated((PAYROLL, BOTH), (LEAVE, READ), scopes=("openid", "email")))


@pytest.mark.parametrize(
    "changes",
    [
        {"uid": "uid-of-a-successor"},
        {"name": "another", "uid": "uid-another"},
        {"login": Login(("https://evil.example/callback",))},
        {"login": Login(("https://hr.example/callback", "https://evil.example/callback"))},
        {"login": Login(("https://hr.example:8443/callback",))},
        {"login": Login(("hr.example:/callback",))},
        {"login": None},
        {"public": True, "credentials": ()},
        {"method": "PrivateKeyJWT"},
    ],
    ids=str,
)
async def test_another_application_has_no_consent(given: Given, changes: dict[str, object]) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ), scopes=("openid",)))
    other = entry(web_client(**changes))
    assert not await given.consents.covers(other, delegated((PAYROLL, READ)))
    assert not await given.consents.covers(other, delegated(scopes=("openid",)))
    await given.consents.remember(other, delegated((PAYROLL, ("payroll.write",))))
    assert not await given.consents.covers(other, delegated((PAYROLL, READ))), "they must not add up"


async def test_another_path_of_the_same_host_is_the_same_application(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ)))
    login = Login(("https://HR.example/other", "https://hr.example/callback"))
    assert await given.consents.covers(entry(web_client(login=login)), delegated((PAYROLL, READ)))


async def test_a_successor_of_an_api_is_another_api(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ)))
    given.servers[PAYROLL] = server_record(uid="uid-of-a-successor")
    assert not await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))


async def test_an_api_that_does_not_exist_gets_no_consent(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ), ("payroll/later", READ)))
    given.servers["payroll/later"] = server_record(name="later", uid="uid-later")
    assert not await given.consents.covers(CLIENT, delegated(("payroll/later", READ)))
    assert await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))


async def test_a_consent_ends_180_days_after_its_last_use(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ), scopes=("openid",)))
    for _ in range(3):
        given.clock.advance(days=179)
        assert await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))
    assert not await given.consents.covers(CLIENT, delegated(scopes=("openid",))), "that was not used"
    given.clock.advance(days=180)
    assert not await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))
    assert await given.consents.of_user(SUBJECT) == ()


async def test_use_is_written_once_a_day(given: Given) -> None:
    await given.consents.remember(CLIENT, delegated((PAYROLL, READ)))
    versions = []
    for _ in range(4):
        await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))
        opened = (await given.sealed.read(user_handle(SUBJECT))).values[0]
        assert opened is not None
        versions.append(opened.version)
        given.clock.advance(hours=12)
    assert versions == [1, 1, 2, 2]


async def test_the_least_recently_used_consents_are_dropped_beyond_a_bound(given: Given) -> None:
    clients = [entry(web_client(name=f"c{n}", uid=f"uid-{n}")) for n in range(MAX_CONSENTS + 1)]
    for client in clients[:-1]:
        await given.consents.remember(client, delegated((PAYROLL, READ)))
    given.clock.advance(days=2)
    assert await given.consents.covers(clients[0], delegated((PAYROLL, READ)))
    await given.consents.remember(clients[-1], delegated((PAYROLL, READ)))
    covered = [await given.consents.covers(client, delegated((PAYROLL, READ))) for client in clients]
    assert covered.count(False) == 1
    assert not covered[1]


async def test_consents_have_a_bound_in_bytes(given: Given) -> None:
    many = tuple(f"payroll.{n:0100}" for n in range(200))
    for number in range(20):
        await given.consents.remember(
            entry(web_client(name=f"c{number}", uid=f"uid-{number}")), delegated((PAYROLL, many))
        )
    (stored,) = [stored for stored, _ in given.store._entries.values()]
    assert len(stored.value) < MAX_CONSENT_BYTES + 1000
    assert len(await given.consents.of_user(SUBJECT)) == 5
    assert await given.consents.covers(entry(web_client(name="c19", uid="uid-19")), delegated((PAYROLL, many)))


async def test_a_withdrawn_consent_ends_refresh_tokens_of_that_client_only(given: Given) -> None:
    other = entry(web_client(name="other", uid="uid-other"))
    for client in (CLIENT, other):
        await given.consents.remember(client, delegated((PAYROLL, READ)))
        read = await given.sealed.read(user_handle(SUBJECT))
        user = user_of(SUBJECT, read.values[0], read.now)
        end = int(read.now) + 3600
        listed = ListedFamily(client.client_id, "sid", client.uid_hash, int(read.now), end)
        record, _ = with_family(user.record, listed)
        await save_or_lose(given.sealed, user.save(record), Save(family_handle(client.client_id), b"f", 3600, 0))
    await given.consents.withdraw(SUBJECT, CLIENT.uid_hash)
    assert not await given.consents.covers(CLIENT, delegated((PAYROLL, READ)))
    assert await given.consents.covers(other, delegated((PAYROLL, READ)))
    families = await given.sealed.read(family_handle(CLIENT.client_id), family_handle(other.client_id))
    assert [family is not None for family in families.values] == [False, True]
    await given.consents.withdraw(SUBJECT, CLIENT.uid_hash)
    await given.consents.withdraw("u-nobody", CLIENT.uid_hash)


async def test_concurrent_consents_are_all_stored(given: Given) -> None:
    clients = [entry(web_client(name=f"c{n}", uid=f"uid-{n}")) for n in range(15)]
    await asyncio.gather(*(given.consents.remember(client, delegated((PAYROLL, READ))) for client in clients))
    assert all([await given.consents.covers(client, delegated((PAYROLL, READ))) for client in clients])
