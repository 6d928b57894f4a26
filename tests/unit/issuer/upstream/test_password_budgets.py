"""Budgets of guesses: delays that grow, addresses, users, and tables that a flood cannot make larger."""

import pytest

from scopewright.issuer.upstream.login import PasswordsBusy, TooManyAttempts
from scopewright.issuer.upstream.password_budgets import (
    FORGET_SECONDS,
    MAX_DELAY_SECONDS,
    PasswordAttempt,
    PasswordBudgets,
)
from tests.harness.clock import Clock


def attempt(name: str = "ada", address: str = "192.0.2.1") -> PasswordAttempt:
    return PasswordAttempt.of("uid", name, address)


def refusal(budgets: PasswordBudgets, of: PasswordAttempt) -> float:
    with pytest.raises(TooManyAttempts) as refused:
        budgets.begin(of)
    return refused.value.retry_after


@pytest.fixture
def clock() -> Clock:
    return Clock()


def test_the_delay_doubles_up_to_fifteen_minutes(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for _ in range(5):
        assert budgets.begin(attempt()) == 0
    delays = []
    for _ in range(14):
        delays.append(refusal(budgets, attempt()))
        clock.advance(seconds=delays[-1])
        budgets.begin(attempt())
    assert delays == [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900, 900, 900]
    assert max(delays) == MAX_DELAY_SECONDS


def test_a_refusal_does_not_make_the_delay_longer(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for _ in range(5):
        budgets.begin(attempt())
    assert {refusal(budgets, attempt()) for _ in range(50)} == {1.0}


def test_an_hour_without_an_attempt_is_forgotten(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for _ in range(5):
        budgets.begin(attempt())
    clock.advance(seconds=FORGET_SECONDS + 2)
    for _ in range(5):
        budgets.begin(attempt())
    refusal(budgets, attempt())


def test_an_address_has_thirty_attempts_and_then_one_each_two_seconds(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for number in range(30):
        assert budgets.begin(attempt(f"u{number}")) == 0
    assert refusal(budgets, attempt("next")) == 2.0
    clock.advance(seconds=2)
    budgets.begin(attempt("next"))
    refusal(budgets, attempt("after"))
    budgets.begin(attempt("after", "192.0.2.2"))


def test_a_pause_gives_an_address_no_more_than_its_burst(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    budgets.begin(attempt())
    clock.advance(days=1)
    for number in range(30):
        budgets.begin(attempt(f"u{number}"))
    assert refusal(budgets, attempt("next")) == 2.0


def test_right_passwords_use_up_no_budget(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for number in range(200):
        of = attempt(f"u{number % 3}")
        assert budgets.begin(of) == 0
        budgets.succeeded(of)


def test_the_addresses_of_one_network_are_one(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for host in range(5):
        budgets.begin(attempt(address=f"2001:db8::{host + 1}"))
    refusal(budgets, attempt(address="2001:db8::ffff:1"))
    budgets.begin(attempt(address="2001:db8:0:1::1"))


def test_a_user_is_slowed_down_for_all_new_addresses_and_never_refused_by_the_guesses_of_others(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    waits = [budgets.begin(attempt(address=f"192.0.2.{host}")) for host in range(23)]
    assert waits == [0.0] * 20 + [2.0, 4.0, 6.0]
    with pytest.raises(PasswordsBusy):
        budgets.begin(attempt(address="198.51.100.1"))
    assert budgets.begin(attempt("grace", "198.51.100.1")) == 0
    clock.advance(seconds=2)
    assert budgets.begin(attempt(address="198.51.100.1")) == 6.0


def test_an_address_with_an_earlier_login_does_not_wait(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    known = attempt(address="198.51.100.1")
    budgets.begin(known)
    budgets.succeeded(known)
    for host in range(23):
        budgets.begin(attempt(address=f"192.0.2.{host}"))
    assert [budgets.begin(known) for _ in range(5)] == [0.0] * 5
    assert refusal(budgets, known) == 1.0  # guesses from there are limited as from anywhere


def test_busy_counts_no_attempt_of_the_address(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for host in range(23):
        budgets.begin(attempt(address=f"192.0.2.{host}"))
    for _ in range(50):
        with pytest.raises(PasswordsBusy):
            budgets.begin(attempt(address="198.51.100.1"))
    clock.advance(hours=1)
    assert [budgets.begin(attempt(address="198.51.100.1")) for _ in range(5)] == [0.0] * 5


def test_a_withdrawn_attempt_does_not_count(clock: Clock) -> None:
    budgets = PasswordBudgets(clock)
    for _ in range(100):
        budgets.begin(attempt())
        budgets.withdraw(attempt())
    for _ in range(4):
        budgets.begin(attempt())
    for _ in range(100):
        budgets.begin(attempt())
        budgets.withdraw(attempt())
    budgets.begin(attempt())
    assert refusal(budgets, attempt()) == 1.0
    clock.advance(seconds=1)
    budgets.begin(attempt())
    assert refusal(budgets, attempt()) == 2.0


def test_no_table_grows_beyond_its_bound_and_the_oldest_entry_is_dropped(clock: Clock) -> None:
    budgets = PasswordBudgets(clock, capacity=100)
    for number in range(1000):
        of = attempt(f"u{number}", f"10.0.{number // 250}.{number % 250}")
        budgets.begin(of)
        budgets.succeeded(of)
        budgets.begin(of)
    for table in (budgets._failures, budgets._logins, budgets._networks._whole, budgets._users._whole):
        assert isinstance(table, dict)
        assert len(table) == 100, table


def test_a_victim_under_attack_stays_in_the_tables(clock: Clock) -> None:
    """A flood with other names drops the entries that were not used, not those of the user who is guessed at."""
    budgets = PasswordBudgets(clock, capacity=10)
    for number in range(5):
        for other in range(8):
            budgets.begin(attempt(f"other-{number}-{other}", f"10.0.{number}.{other}"))
        budgets.begin(attempt())
    assert refusal(budgets, attempt()) == 1.0


def test_no_user_name_is_kept(clock: Clock) -> None:
    """Some users type their password into that field."""
    assert "hunter2" not in repr(attempt("hunter2"))
