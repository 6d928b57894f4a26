"""Logins with passwords: who gets in, what an unknown name costs, and what guessing and flooding reach."""

import asyncio
import time
from dataclasses import replace

import pytest

from scopewright.cli.users import hashed
from scopewright.core.providers.static_users import encode_static_users
from scopewright.core.users import subject_of
from scopewright.issuer.upstream.computations import CONCURRENCY, QUEUE
from scopewright.issuer.upstream.login import PasswordsBusy, TooManyAttempts, WrongPassword
from scopewright.issuer.upstream.password_budgets import PasswordBudgets
from scopewright.issuer.upstream.passwords import MAX_USERNAME, MAX_WAITING, Passwords, is_password_of
from scopewright.issuer.users.pool import MAX_SLOW_REQUESTS
from tests.harness.clock import START
from tests.harness.users import static_user
from tests.harness.waiting import until
from tests.unit.issuer.upstream.static_logins import ADDRESS, RIGHT, PasswordsHarness, static_provider


async def test_a_real_hash_lets_its_password_in_and_no_other() -> None:
    provider = static_provider(static_user("ada", passwordHash=hashed("cafe\u0301 noir")))
    passwords = Passwords(time.time, PasswordBudgets(time.monotonic))
    assert (await passwords.verify(provider, "ADA ", "café\u00a0noir", ADDRESS)).subject == subject_of(
        "static:staff", "ada"
    )
    for name, password in (("ada", "cafe noir"), ("ada", "Café noir"), ("grace", "café noir")):
        with pytest.raises(WrongPassword):
            await passwords.verify(provider, name, password, ADDRESS)


async def test_many_computations_at_once_end() -> None:
    """With several lanes, OpenSSL's threads would wait for each other here."""
    password_hash = hashed(RIGHT)
    right = await asyncio.gather(*(asyncio.to_thread(is_password_of, password_hash, RIGHT.encode()) for _ in range(12)))
    assert all(right)


async def test_a_login_has_the_time_of_the_clock() -> None:
    harness = PasswordsHarness()
    user = await harness.verify()
    assert (user.auth_time, user.groups) == (int(START.timestamp()), ("staff:hr-staff",))


async def test_the_right_password_of_nobody_is_wrong() -> None:
    """A decoy is the hash of no password; if it were, its name would still be unknown."""
    harness = PasswordsHarness()
    with pytest.raises(WrongPassword):
        await harness.verify("grace", RIGHT)


async def test_known_and_unknown_names_cost_one_computation_each() -> None:
    harness = PasswordsHarness()
    for name in ("ada", "grace", "ada", "grace"):
        assert await harness.outcome(name) == "WrongPassword"
    assert len(harness.checked) == 4
    assert len(set(harness.checked)) == 3  # ada's, and two decoys


@pytest.mark.parametrize(
    ("name", "password"),
    [
        ("", RIGHT),
        ("a" * (MAX_USERNAME + 1), RIGHT),
        ("ada", ""),
        ("ada", "a" * 1025),
        ("ada", "é" * 513),
        ("ada", "\ud800"),
    ],
)
async def test_what_cannot_be_right_costs_nothing(name: str, password: str) -> None:
    harness = PasswordsHarness()
    for _ in range(50):
        assert await harness.outcome(name, password) == "WrongPassword"
    assert harness.checked == []


async def test_any_name_that_fits_is_checked() -> None:
    harness = PasswordsHarness()
    for name in ("\ud800", "a" * MAX_USERNAME, "\ufdfa" * MAX_USERNAME, "\0", " "):
        assert await harness.outcome(name) == "WrongPassword"
    assert len(harness.checked) == 5


async def test_guesses_for_one_user_are_refused_after_five_however_the_name_is_written() -> None:
    harness = PasswordsHarness()
    names = ["ada", "ADA", " ada", "\uff41da", "Ada"]
    assert [await harness.outcome(name) for name in names] == ["WrongPassword"] * 5
    assert await harness.outcome("ada", RIGHT) == "TooManyAttempts"
    assert len(harness.checked) == 5
    harness.clock.advance(seconds=1)
    assert await harness.outcome("ada", RIGHT) == "ada"


async def test_guesses_at_once_are_counted_before_they_are_checked() -> None:
    harness = PasswordsHarness()
    harness.go_on.clear()
    guesses = [asyncio.create_task(harness.outcome()) for _ in range(10)]
    await harness.until_checked(2)
    harness.go_on.set()
    assert sorted(await asyncio.gather(*guesses)) == ["TooManyAttempts"] * 5 + ["WrongPassword"] * 5


async def test_a_refusal_does_not_say_whether_the_user_exists() -> None:
    known, unknown = PasswordsHarness(), PasswordsHarness()
    for _ in range(8):
        assert await known.outcome("ada") == await unknown.outcome("nobody")
    for harness, name in ((known, "ada"), (unknown, "nobody")):
        with pytest.raises(TooManyAttempts) as refused:
            await harness.verify(name)
        assert refused.value.retry_after == 1.0


async def test_a_right_password_gives_all_attempts_back() -> None:
    harness = PasswordsHarness()
    for _ in range(20):
        assert [await harness.outcome() for _ in range(4)] == ["WrongPassword"] * 4
        assert await harness.outcome(password=RIGHT) == "ada"
        harness.clock.advance(seconds=8)  # the address pays for its wrong ones


async def test_a_user_is_not_locked_out_by_guesses_from_other_addresses() -> None:
    harness = PasswordsHarness()
    assert await harness.outcome(password=RIGHT, address="198.51.100.1") == "ada"
    outcomes = {await harness.outcome(address=f"192.0.2.{host}") for host in range(1, 200)}
    assert outcomes == {"WrongPassword", "PasswordsBusy"}
    assert await harness.outcome(password=RIGHT, address="198.51.100.1") == "ada"
    assert harness.slept == [2.0, 4.0, 6.0]  # none of them is that of the user
    assert await harness.outcome(password=RIGHT, address="198.51.100.2") == "PasswordsBusy"
    harness.clock.advance(seconds=2)
    assert await harness.outcome(password=RIGHT, address="198.51.100.2") == "ada"
    assert harness.slept[3:] == [6.0]


async def test_a_full_queue_counts_no_attempt() -> None:
    harness = PasswordsHarness(concurrency=1, queue=0)
    harness.go_on.clear()
    first = asyncio.create_task(harness.outcome("grace"))
    await harness.until_checked(1)
    for _ in range(100):
        with pytest.raises(PasswordsBusy):
            await harness.verify("ada", "wrong")
    harness.go_on.set()
    assert await first == "WrongPassword"
    assert [await harness.outcome() for _ in range(6)] == ["WrongPassword"] * 5 + ["TooManyAttempts"]


async def test_a_cancelled_guess_is_counted() -> None:
    harness = PasswordsHarness()
    for _ in range(5):
        harness.go_on.clear()
        guess = asyncio.create_task(harness.outcome())
        await harness.until_checked(len(harness.checked) + 1)
        guess.cancel()
        await asyncio.gather(guess, return_exceptions=True)
        harness.go_on.set()
    assert await harness.outcome() == "TooManyAttempts"


async def test_a_guess_that_was_cancelled_before_its_turn_is_not_counted() -> None:
    """The flood of others must not use up the attempts of a user who waits longer than a request may take."""
    harness = PasswordsHarness(concurrency=1)
    harness.go_on.clear()
    flood = asyncio.create_task(harness.outcome("grace", address="192.0.2.9"))
    await harness.until_checked(1)
    for _ in range(20):
        login = asyncio.create_task(harness.outcome(password=RIGHT))
        await asyncio.sleep(0)
        login.cancel()
        await asyncio.gather(login, return_exceptions=True)
    harness.go_on.set()
    await flood
    assert await harness.outcome(password=RIGHT) == "ada"


async def test_floods_of_some_users_keep_no_place_from_the_others() -> None:
    """Each user has at most 3 attempts that wait for 6 s: with 11 invented names they would take all 32 places."""
    harness = PasswordsHarness()
    may_go_on = asyncio.Event()

    async def sleep(seconds: float) -> None:
        await may_go_on.wait()

    passwords = Passwords(
        harness.clock, harness.budgets, check=lambda known, typed: typed == RIGHT.encode(), sleep=sleep
    )
    flood = []
    for name in range(11):
        for number in range(23):
            address = f"10.{name}.{number}.1"
            guess = passwords.verify(harness.provider, f"nobody-{name}", "wrong", address)
            flood.append(asyncio.create_task(guess))
            await asyncio.sleep(0.001)
    await until(lambda: sum(not guess.done() for guess in flood) <= MAX_WAITING)
    assert sum(not guess.done() for guess in flood) == MAX_WAITING
    assert (await passwords.verify(harness.provider, "ada", RIGHT, ADDRESS)).display_name == "ada"
    may_go_on.set()
    ends = await asyncio.gather(*flood, return_exceptions=True)
    assert {type(end) for end in ends} == {WrongPassword, PasswordsBusy}


def test_all_passwords_that_wait_fit_into_their_places() -> None:
    assert MAX_WAITING + CONCURRENCY + QUEUE <= MAX_SLOW_REQUESTS


async def test_users_of_two_providers_with_one_name_have_budgets_of_their_own() -> None:
    harness = PasswordsHarness()
    for _ in range(6):
        await harness.outcome()
    harness.provider = static_provider(name="other")
    assert await harness.outcome(password=RIGHT) == "ada"


async def test_a_removed_user_is_not_current_any_more() -> None:
    harness = PasswordsHarness()
    ada = await harness.verify()
    assert harness.passwords.current(harness.provider, ada.subject) == replace(ada, auth_time=0)
    changed = replace(harness.provider, users=encode_static_users([static_user("ada", name="Ada L.")]))
    renamed = harness.passwords.current(changed, ada.subject)
    assert renamed is not None
    assert (renamed.display_name, renamed.groups) == ("Ada L.", ())
    without = replace(harness.provider, users=encode_static_users([static_user("grace", username="ada")]))
    assert harness.passwords.current(without, ada.subject) is None
