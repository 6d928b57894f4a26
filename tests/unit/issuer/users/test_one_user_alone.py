"""What one user with a script can use up: neither the store, nor the tokens of others, nor another browser's header."""

import pytest

from scopewright.core.revocation_keys import user_key
from scopewright.issuer.user_entries import MAX_TOKENS_PER_USER
from scopewright.issuer.users.attempts import MAX_ATTEMPTS
from scopewright.issuer.users.user_record import MAX_FAMILIES_PER_CLIENT, MAX_REDEEMED_CODES
from tests.harness.memory_sessions import MemorySessions
from tests.harness.samples import PAYROLL_SERVICE, SECRET, service_record
from tests.harness.users import UsersHarness
from tests.unit.issuer.users.logins import Logins, granting_server, public_client, running_logins, user, web_client

MANY = MAX_REDEEMED_CODES + 30
MORE_THAN_A_CLIENT_HAS = 300
"""Revoked tokens: above `MAX_USER_TOKENS_PER_CLIENT`, all tokens of users that the client has end."""


@pytest.mark.parametrize("grant_types", [("authorization_code", "refresh_token"), ("authorization_code",)])
async def test_redeemed_codes_of_a_user_do_not_fill_the_store(grant_types: tuple[str, ...]) -> None:
    store = CountedSessions()
    async with running_logins(web_client(grant_types=grant_types), store) as logins:
        session = await logins.session()
        for _ in range(MANY):
            assert (await logins.redeem(await logins.code(session))).status_code == 200
        # Beside the codes and the families: the user and the session.
        assert store.count <= MAX_REDEEMED_CODES + MAX_FAMILIES_PER_CLIENT + 2


async def test_the_last_codes_of_a_user_are_remembered() -> None:
    async with running_logins() as logins:
        session = await logins.session()
        codes = [await logins.code(session) for _ in range(MAX_REDEEMED_CODES)]
        tokens = [(await logins.redeem(code)).json()["access_token"] for code in codes]
        assert (await logins.redeem(codes[0])).status_code == 400
        assert [await is_active(logins, token) for token in tokens[:2]] == [False, True]


async def test_replays_of_one_user_end_no_token_of_another() -> None:
    async with running_logins(public_client()) as logins:
        of_another = (await logins.tokens(user("ada")))["access_token"]
        session = await logins.session(user("eve"))
        for _ in range(MORE_THAN_A_CLIENT_HAS):
            code = await logins.code(session)
            last = (await logins.redeem(code, secret=None)).json()["access_token"]
            assert (await logins.redeem(code, secret=None)).status_code == 400
        assert not await is_active(logins, last)
        assert await is_active(logins, of_another)
        assert revoked_tokens(logins) == MAX_TOKENS_PER_USER + 1


async def test_revocations_of_one_user_end_no_token_of_another() -> None:
    async with running_logins() as logins:
        of_another = (await logins.tokens(user("ada")))["access_token"]
        session = await logins.session(user("eve"))
        tokens = [(await logins.redeem(await logins.code(session))).json() for _ in range(2 * MAX_TOKENS_PER_USER)]
        for number, token in enumerate(tokens):
            name = "access_token" if number % 2 else "refresh_token"
            assert (await logins.post({"token": token[name]}, SECRET, "/revoke")).status_code == 200
        assert [await is_active(logins, token["access_token"]) for token in tokens] == [False] * len(tokens)
        assert await is_active(logins, of_another)
        assert revoked_tokens(logins) == MAX_TOKENS_PER_USER + 1


async def test_a_user_has_single_entries_again_when_the_earlier_ones_are_dropped() -> None:
    async with running_logins(public_client()) as logins:
        for _ in range(3):
            for _ in range(MAX_TOKENS_PER_USER):
                code = await logins.code(await logins.session())
                await logins.redeem(code, secret=None)
                await logins.redeem(code, secret=None)
            [of_client] = logins.harness.issuer.background.revocations.record.user_tokens.values()
            assert len(of_client) >= MAX_TOKENS_PER_USER
            assert user_key(user().subject) not in of_client
            logins.harness.clock.advance(seconds=2 * 3600)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_long_requests_do_not_make_the_cookies_of_a_browser_too_large(users: UsersHarness, method: str) -> None:
    """Many proxies accept 8 KiB in a header."""
    for _ in range(MAX_ATTEMPTS + 1):
        if method == "GET":
            page = await users.follow(await users.authorize(nonce="n" * 2100))
        else:
            async with users.open_browser() as without_cookies:
                begun = await users.begin_by_post(without_cookies, nonce="n" * 2100)
                users.browser.cookies.update(without_cookies.cookies)
            page = await users.follow(begun)
        users.issuer.clock.advance(seconds=1)
        assert len("; ".join(f"{name}={value}" for name, value in users.browser.cookies.items())) < 7800
    assert "code" in users.parameters_of(
        await users.submit(await users.submit(page, "login", "user-ada"), "consent", "allow")
    )


class CountedSessions(MemorySessions):
    @property
    def count(self) -> int:
        return len(self._entries)


async def is_active(logins: Logins, token: str) -> bool:
    """As the service of its API sees it: a public client cannot ask."""
    if PAYROLL_SERVICE not in logins.harness.issuer.registry.clients.ids():
        await logins.put(granting_server(served_by=(PAYROLL_SERVICE,)), service_record("payroll"))
    return bool((await logins.harness.introspect(token, PAYROLL_SERVICE))["active"])


def revoked_tokens(logins: Logins) -> int:
    record = logins.harness.issuer.background.revocations.record
    assert not record.user_clients
    assert not record.every_user
    return sum(map(len, record.user_tokens.values()))
