"""From anything declared and any half-done state, it comes to rest; and at rest, what is mounted works."""

import contextlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from tests.unit.controller.house import ISSUER, NAMESPACE, House
from tests.unit.controller.memory import Crash

CONFIG = Config(
    issuer=ISSUER, audiences=(AudiencePrefix(prefix="https://hr.example", namespaces=("payroll", "leave")),)
)
SCOPES = st.lists(st.sampled_from(["read", "write", "other"]), min_size=1, max_size=3, unique=True)
NAMES = st.sampled_from(["a", "b"])
SPACES = st.sampled_from(["payroll", "leave"])
INSTANTS = st.sampled_from(["2026-11-22T11:00:00Z", "2026-11-22T12:30:00Z", "2026-12-22T12:00:00Z"])

GIVEN = {"kty": "EC", "crv": "P-256", "x": "x" * 43, "y": "y" * 43}
AUTHENTICATION = st.sampled_from(
    [{"method": "PrivateKeyJWT"}, {"method": "PrivateKeyJWT", "jwks": {"keys": [GIVEN]}},
     {"method": "ServiceAccount", "serviceAccount": {"name": "there"}},
     {"method": "ServiceAccount", "serviceAccount": {"name": "nowhere"}},
     {"method": "ServiceAccount", "serviceAccount": {"name": "a", "cluster": "eu-1", "uid": "5c9a"}}]
)  # fmt: skip
CLIENTS = st.fixed_dictionaries(
    {},
    optional={
        "authentication": AUTHENTICATION,
        "access": st.lists(
            st.fixed_dictionaries({"resourceServer": NAMES, "namespace": SPACES, "scopes": SCOPES}),
            max_size=2,
            unique_by=lambda a: (a["resourceServer"], a["namespace"]),
        ),
        "rotation": st.fixed_dictionaries(
            {},
            optional={
                "every": st.sampled_from(["1h", "720h"]),
                "overlap": st.sampled_from(["0s", "30m", "1h"]),
                "suspend": st.booleans(),
                "revokedBefore": INSTANTS,
            },
        ),
        "credentials": st.fixed_dictionaries(
            {},
            optional={
                "secretName": st.sampled_from(["shared", "a-oauth"]),
                "keys": st.just({"clientSecret": "client_secret", "issuer": "iss"}),
                "deletionPolicy": st.sampled_from(["Delete", "Retain"]),
                "secretTemplate": st.sampled_from([{}, {"labels": {"team": "a"}}, {"annotations": {"note": "b"}}]),
            },
        ),
        "disabled": st.booleans(),
    },
)
SERVERS = st.fixed_dictionaries(
    {"scopes": SCOPES.map(lambda names: [{"name": n} for n in names])},
    optional={
        "audience": st.sampled_from(["https://hr.example/x", "https://hr.example/y", "https://elsewhere.example"]),
        "tokens": st.fixed_dictionaries({"lifetime": st.sampled_from(["5m", "9h"])}),
    },
)
GRANTEES = st.sampled_from(
    [{"namespace": "leave"}, {"namespace": "leave", "client": "a"}, {"allNamespaces": True},
     {"namespaceSelector": {"matchLabels": {"team": "hr"}}}]
)  # fmt: skip
GRANTS = st.fixed_dictionaries(
    {"resourceServer": NAMES, "scopes": SCOPES, "to": st.lists(GRANTEES, min_size=1, max_size=2)},
    optional={"expirationTime": INSTANTS},
)
KEYS = st.fixed_dictionaries(
    {},
    optional={"revokedBefore": INSTANTS, "rotation": st.sampled_from([{"every": "2h", "publishAhead": "1h"}, {}])},
)
DECLARED = st.one_of(
    st.tuples(st.just("OAuthClient"), SPACES, NAMES, CLIENTS),
    st.tuples(st.just("ResourceServer"), SPACES, NAMES, SERVERS),
    st.tuples(st.just("ScopeGrant"), SPACES, NAMES, GRANTS),
    st.tuples(st.just("SigningKey"), st.just(NAMESPACE), st.sampled_from(["default", "a"]), KEYS),
)
HURTS = st.sampled_from(["drop a Secret", "edit a Secret", "drop a record", "delete", "wait", "nothing"])
STEPS = st.lists(st.tuples(st.lists(DECLARED, max_size=4), st.integers(0, 12), HURTS), min_size=1, max_size=3)


def hurt(house: House, how: str) -> None:
    objects = sorted(house.store.objects)
    ours = [r for r in objects if r.kind == "Secret" and r.namespace != NAMESPACE]
    # Keys and their JWKS have stories of their own: while somebody has deleted those, the promise is broken by them.
    records = [r for r in objects if r.namespace == NAMESPACE and r.name.startswith(("client.", "resourceserver."))]
    if how == "drop a Secret" and ours:
        house.store.drop(ours[0])
    elif how == "edit a Secret" and ours:
        house.store.edit(ours[0], **{"client_secret": b"chosen", "private_key.jwk": b"chosen"})
    elif how == "drop a record" and records:
        house.store.drop(records[0])
    elif how == "delete" and house.store.declared:
        house.store.remove(min(house.store.declared))
    elif how == "wait":
        house.pass_time(timedelta(minutes=50))


def crashed(house: House, at: int) -> None:
    """A round that is killed after `at` writes, and a new process."""
    house.store.fail(Crash(), at)
    with contextlib.suppress(Crash):
        house.round()
    house.restart()
    house.pass_time(timedelta(seconds=70))


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
@given(STEPS)
def test_from_any_state_it_comes_to_rest_within_twelve_rounds(
    steps: list[tuple[list[tuple[str, str, str, dict[str, Any]]], int, str]],
) -> None:
    house = House(CONFIG)
    house.namespaces = {"payroll": {}, "leave": {"team": "hr"}}
    house.service_accounts = {"leave/there": "1", "payroll/there": "2"}
    for declared, at, how in steps:
        for kind, namespace, name, spec in declared:
            house.apply(kind, namespace, name, spec)
        crashed(house, at)
        hurt(house, how)
    # What two clients that name the same Secret fight over is the users' to settle, not ours; nor may it churn.
    house.settle()
    at_rest = len(house.store.writes)
    house.restart()
    house.settle()
    assert len(house.store.writes) == at_rest, "a new process writes where the old one was at rest"
    assert all(len(r.credentials) <= 4 for ref in house.store.declared if (r := _record(house, ref)))
    for ref in house.store.declared:
        assert house.status(ref), f"{ref} has no status"


def _record(house: House, ref: Ref) -> Any:
    return house.client_record(ref.namespace, ref.name) if ref.kind == "OAuthClient" else None


def test_two_clients_that_name_one_secret_end_with_one_of_them_told() -> None:
    house = House()
    for name in ("a", "b"):
        house.apply("OAuthClient", "leave", name, {"credentials": {"secretName": "shared"}})
    house.settle()
    conditions = {house.condition(Ref("OAuthClient", "leave", name)) for name in ("a", "b")}
    assert conditions == {"True Provisioned", "False SecretConflict"}


def test_a_conflict_ends_when_the_foreign_secret_is_gone() -> None:
    house = House()
    key = house.apply("OAuthClient", "leave", "worker")
    foreign = Existing(house.secret(), "", "", "Opaque")
    house.store.put(foreign, {"client_secret": b"theirs"})
    house.settle()
    assert house.condition(key) == "False SecretConflict"
    assert house.store.entry(house.secret(), "client_secret") == b"theirs"
    house.store.drop(house.secret())
    house.settle()
    assert house.condition(key) == "True Provisioned"


def test_a_secret_that_lost_our_label_keeps_its_credential() -> None:
    house = House()
    house.apply("OAuthClient", "leave", "worker")
    house.settle()
    held = house.store.objects[house.secret()]
    house.store.put(replace(held.existing, labels={}), held.entries)
    house.settle()
    assert house.value() == "secret1"
    record = house.client_record("leave", "worker")
    assert record is not None
    assert len(record.credentials) == 1
    assert house.store.objects[house.secret()].existing.labels["app.kubernetes.io/managed-by"] == "scopewright"


def test_two_resource_servers_that_claim_one_audience_at_once_do_not_change_places() -> None:
    """Both records were written before either was seen, in one second: who has it keeps it, whoever writes next."""
    house = House(CONFIG)
    spec = {"audience": "https://hr.example/x", "scopes": [{"name": "read"}]}
    house.apply("ResourceServer", "leave", "a", spec)
    house.settle()
    lost = dict(house.store.objects)
    house.apply("ResourceServer", "payroll", "b", spec)
    house.store.objects.clear()
    house.restart()
    house.settle()
    house.store.objects.update({r: h for r, h in lost.items() if r.name.endswith("leave.a")})
    for at in house.store.objects.values():
        at.existing = replace(at.existing, creation_time=house.now.replace(microsecond=0))
    house.restart()
    house.settle()

    def owner() -> list[str]:
        records = [house.server_record("leave", "a"), house.server_record("payroll", "b")]
        return [r.key for r in records if r and r.audience == "https://hr.example/x"]

    first = owner()
    assert len(first) == 1
    for n in range(4):
        for namespace, name in (("leave", "a"), ("payroll", "b")):
            house.apply("ResourceServer", namespace, name, {**spec, "scopes": [{"name": f"read{n}"}]})
            house.settle()
            assert owner() == first


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_clients_that_pass_their_secret_names_on_in_a_ring_settle(policy: str) -> None:
    house = House()
    names = ("a", "b", "c")

    def named(client: str, secret: str) -> Ref:
        credentials = {"secretName": secret, "deletionPolicy": policy}
        return house.apply("OAuthClient", "leave", client, {"credentials": credentials})

    for name in names:
        named(f"client-{name}", name)
    house.settle()
    keys = [named(f"client-{name}", names[(n + 1) % 3]) for n, name in enumerate(names)]
    house.settle()
    assert {house.condition(key) for key in keys} == {"True Provisioned"}
    for n, name in enumerate(names):
        held = house.store.objects[Ref("Secret", "leave", names[(n + 1) % 3])].entries
        assert held["client_id"] == f"leave.client-{name}".encode()


def names(house: House, client: str, secret: str, **more: str) -> Ref:
    return house.apply("OAuthClient", "leave", client, {"credentials": {"secretName": secret}}, **more)


def rounds(house: House, count: int = 6) -> None:
    for _ in range(count):
        house.pass_time(timedelta(seconds=15))
        house.round()


def holder(house: House, secret: str) -> str | None:
    held = house.store.objects.get(Ref("Secret", "leave", secret))
    return held.existing.labels["scopewright.dev/client"] if held else None


@pytest.mark.parametrize("why", ["quota", "conflict"])
def test_a_claimed_secret_stays_until_its_clients_new_one_is_in_place(why: str) -> None:
    house = House()
    moved = names(house, "a", "one")
    house.settle()
    new = Ref("Secret", "leave", "two")
    if why == "quota":
        house.store.refused[str(new)] = Rejected("QuotaExceeded", "exceeded quota")
    else:
        house.store.put(Existing(new, "", "", "Opaque", {MANAGED_BY: MANAGER}), {"x": b"somebody else's"})
    names(house, "a", "two")
    other = names(house, "b", "one")
    rounds(house)
    assert house.condition(moved).startswith("False")
    assert house.condition(other) == "False SecretConflict"
    assert holder(house, "one") == "a", "its Pods start with it"
    house.store.refused.clear()
    if why == "conflict":
        house.store.drop(new)
    rounds(house)
    assert {house.condition(key) for key in (moved, other)} == {"True Provisioned"}
    assert (holder(house, "one"), holder(house, "two")) == ("b", "a")


def test_a_chain_of_clients_gives_up_no_secret_before_the_last_has_its_own() -> None:
    house = House()
    for client, secret in (("a", "one"), ("b", "two")):
        names(house, client, secret)
    house.settle()
    house.store.refused["Secret leave/three"] = Rejected("QuotaExceeded", "exceeded quota")
    moves = (("a", "two"), ("b", "three"), ("c", "one"))
    keys = [names(house, client, secret) for client, secret in moves]
    rounds(house)
    assert (holder(house, "one"), holder(house, "two")) == ("a", "b")
    house.store.refused.clear()
    rounds(house)
    assert {house.condition(key) for key in keys} == {"True Provisioned"}
    assert [holder(house, secret) for _, secret in moves] == ["a", "b", "c"]


def test_clients_that_swap_wait_for_one_that_is_paused() -> None:
    house = House()
    for client, secret in (("a", "one"), ("b", "two")):
        names(house, client, secret)
    house.settle()
    names(house, "b", "one", paused="true")
    names(house, "a", "two")
    rounds(house)
    assert (holder(house, "one"), holder(house, "two")) == ("a", "b")
    names(house, "b", "one")
    rounds(house)
    assert (holder(house, "one"), holder(house, "two")) == ("b", "a")
