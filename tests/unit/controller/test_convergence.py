"""From any declared objects and any unfinished state the operator settles, and mounted credentials then work."""

import contextlib
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from scopewright.core.config import AudiencePrefix, Config
from scopewright.core.failures import Rejected
from scopewright.core.objects import MANAGED_BY, MANAGER, Existing, Ref
from scopewright.core.records.names import INSTALLATION_SECRETS
from tests.harness.memory_store import Crash
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE

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
     {"method": "None"},
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
ROLES: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"name": st.sampled_from(["reader", "writer"]), "scopes": SCOPES}
)
SERVERS: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"scopes": SCOPES.map(lambda names: [{"name": n} for n in names])},
    optional={
        "audience": st.sampled_from(["https://hr.example/x", "https://hr.example/y", "https://elsewhere.example"]),
        "tokens": st.fixed_dictionaries({"lifetime": st.sampled_from(["5m", "9h"])}),
        "roles": st.lists(ROLES, max_size=2, unique_by=lambda role: role["name"]),
    },
)
GRANTEES = st.sampled_from(
    [{"namespace": "leave"}, {"namespace": "leave", "client": "a"}, {"allNamespaces": True},
     {"namespaceSelector": {"matchLabels": {"team": "hr"}}}]
)  # fmt: skip
USERS: st.SearchStrategy[dict[str, Any]] = st.sampled_from(
    [{"groups": ["staff", "managers"]}, {"subjects": [f"u-{'a' * 26}"]}, {"allUsers": True}]
)
USER_GRANTEES: st.SearchStrategy[dict[str, Any]] = st.builds(
    lambda users, through: {**users, "through": through}, USERS, GRANTEES
)
GRANTS = st.fixed_dictionaries(
    {"resourceServer": NAMES, "scopes": SCOPES, "to": st.lists(GRANTEES, min_size=1, max_size=2)},
    optional={
        "expirationTime": INSTANTS,
        "roles": st.lists(st.sampled_from(["reader", "writer", "nonsense"]), max_size=2, unique=True),
        "toUsers": st.lists(USER_GRANTEES, max_size=2),
    },
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
DISTURBANCES = st.sampled_from(
    ["delete a Secret", "edit a Secret", "delete a record", "delete an object", "wait", "nothing"]
)
STEPS = st.lists(st.tuples(st.lists(DECLARED, max_size=4), st.integers(0, 12), DISTURBANCES), min_size=1, max_size=3)


def disturb(harness: OperatorHarness, how: str) -> None:
    objects = sorted(harness.store.objects)
    secrets = [r for r in objects if r.kind == "Secret" and r.namespace != NAMESPACE]
    # Key records and the JWKS are not deleted here: until they are written again, invariant 2 does not hold.
    records = [r for r in objects if r.namespace == NAMESPACE and r.name.startswith(("client.", "resourceserver."))]
    if how == "delete a Secret" and secrets:
        harness.store.delete_by_hand(secrets[0])
    elif how == "edit a Secret" and secrets:
        harness.store.edit(secrets[0], **{"client_secret": b"chosen", "private_key.jwk": b"chosen"})
    elif how == "delete a record" and records:
        harness.store.delete_by_hand(records[0])
    elif how == "delete an object" and harness.store.declared:
        harness.delete(min(harness.store.declared))
    elif how == "wait":
        harness.clock.advance(minutes=50)


def reconcile_with_crash(harness: OperatorHarness, at: int) -> None:
    """Reconcile all objects until the process ends at its write `at`, and start a new process."""
    harness.store.fail(Crash(), at)
    with contextlib.suppress(Crash):
        harness.reconcile_all()
    harness.restart()
    harness.clock.advance(seconds=70)


@settings(
    max_examples=120,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
    derandomize=True,
    phases=[Phase.explicit, Phase.generate],
)
@given(STEPS)
def test_any_state_settles_within_twelve_rounds(
    steps: list[tuple[list[tuple[str, str, str, dict[str, Any]]], int, str]],
) -> None:
    harness = OperatorHarness(CONFIG)
    harness.namespaces = {"payroll": {}, "leave": {"team": "hr"}}
    harness.service_accounts = {"leave/there": "1", "payroll/there": "2"}
    for declared, at, how in steps:
        for kind, namespace, name, spec in declared:
            harness.apply(kind, namespace, name, spec)
        reconcile_with_crash(harness, at)
        disturb(harness, how)
    # Two clients that name the same Secret are a conflict that users solve. It must not cause writes.
    harness.settle()
    settled = len(harness.store.writes)
    harness.restart()
    harness.settle()
    assert len(harness.store.writes) == settled, "a new process has written where the old one had settled"
    assert all(len(r.credentials) <= 4 for ref in harness.store.declared if (r := _record(harness, ref)))
    for ref in harness.store.declared:
        assert harness.status(ref), f"{ref} has no status"


def _record(harness: OperatorHarness, ref: Ref) -> Any:
    return harness.client_record(ref.namespace, ref.name) if ref.kind == "OAuthClient" else None


def test_of_two_clients_that_name_one_secret_one_is_provisioned() -> None:
    harness = OperatorHarness()
    for name in ("a", "b"):
        harness.apply("OAuthClient", "leave", name, {"credentials": {"secretName": "shared"}})
    harness.settle()
    conditions = {harness.condition(Ref("OAuthClient", "leave", name)) for name in ("a", "b")}
    assert conditions == {"True Provisioned", "False SecretConflict"}


@pytest.mark.parametrize("secret", ["client.hr.web", "signingkey.0", "identityprovider.company", *INSTALLATION_SECRETS])
def test_a_client_beside_the_issuer_cannot_have_a_secret_with_the_name_of_a_record(secret: str) -> None:
    """It would be taken for the record, and be deleted with it."""
    harness = OperatorHarness()
    here = harness.apply("OAuthClient", NAMESPACE, "worker", {"credentials": {"secretName": secret}})
    elsewhere = harness.apply("OAuthClient", "leave", "worker", {"credentials": {"secretName": secret}})
    harness.settle()
    assert harness.condition(here) == "False SecretConflict"
    assert harness.condition(elsewhere) == "True Provisioned"


def test_a_conflict_ends_when_the_foreign_secret_is_deleted() -> None:
    harness = OperatorHarness()
    key = harness.apply("OAuthClient", "leave", "worker")
    foreign = Existing(harness.secret_ref(), "", "", "Opaque")
    harness.store.put(foreign, {"client_secret": b"foreign"})
    harness.settle()
    assert harness.condition(key) == "False SecretConflict"
    assert harness.store.entry(harness.secret_ref(), "client_secret") == b"foreign"
    harness.store.delete_by_hand(harness.secret_ref())
    harness.settle()
    assert harness.condition(key) == "True Provisioned"


def test_a_secret_without_scopewrights_label_keeps_its_credential() -> None:
    harness = OperatorHarness()
    harness.apply("OAuthClient", "leave", "worker")
    harness.settle()
    stored = harness.store.objects[harness.secret_ref()]
    harness.store.put(replace(stored.existing, labels={}), stored.entries)
    harness.settle()
    assert harness.client_secret() == "secret1"
    record = harness.client_record("leave", "worker")
    assert record is not None
    assert len(record.credentials) == 1
    assert harness.store.objects[harness.secret_ref()].existing.labels["app.kubernetes.io/managed-by"] == "scopewright"


def test_one_of_two_resource_servers_that_claim_one_audience_at_once_keeps_it() -> None:
    """Both records were written in one second, before either was seen. No later write moves the audience."""
    harness = OperatorHarness(CONFIG)
    spec = {"audience": "https://hr.example/x", "scopes": [{"name": "read"}]}
    harness.apply("ResourceServer", "leave", "a", spec)
    harness.settle()
    lost = dict(harness.store.objects)
    harness.apply("ResourceServer", "payroll", "b", spec)
    harness.store.objects.clear()
    harness.restart()
    harness.settle()
    harness.store.objects.update({r: h for r, h in lost.items() if r.name.endswith("leave.a")})
    for at in harness.store.objects.values():
        at.existing = replace(at.existing, creation_time=harness.clock.now.replace(microsecond=0))
    harness.restart()
    harness.settle()

    def owner() -> list[str]:
        records = [harness.server_record("leave", "a"), harness.server_record("payroll", "b")]
        return [r.key for r in records if r and r.audience == "https://hr.example/x"]

    first = owner()
    assert len(first) == 1
    for n in range(4):
        for namespace, name in (("leave", "a"), ("payroll", "b")):
            harness.apply("ResourceServer", namespace, name, {**spec, "scopes": [{"name": f"read{n}"}]})
            harness.settle()
            assert owner() == first


@pytest.mark.parametrize("policy", ["Delete", "Retain"])
def test_clients_that_exchange_their_secret_names_in_a_ring_settle(policy: str) -> None:
    harness = OperatorHarness()
    names = ("a", "b", "c")

    def named(client: str, secret: str) -> Ref:
        credentials = {"secretName": secret, "deletionPolicy": policy}
        return harness.apply("OAuthClient", "leave", client, {"credentials": credentials})

    for name in names:
        named(f"client-{name}", name)
    harness.settle()
    keys = [named(f"client-{name}", names[(n + 1) % 3]) for n, name in enumerate(names)]
    harness.settle()
    assert {harness.condition(key) for key in keys} == {"True Provisioned"}
    for n, name in enumerate(names):
        stored = harness.store.objects[Ref("Secret", "leave", names[(n + 1) % 3])].entries
        assert stored["client_id"] == f"leave.client-{name}".encode()


def declare_client(harness: OperatorHarness, client: str, secret: str, **more: str) -> Ref:
    return harness.apply("OAuthClient", "leave", client, {"credentials": {"secretName": secret}}, **more)


def reconcile_rounds(harness: OperatorHarness, count: int = 6) -> None:
    for _ in range(count):
        harness.clock.advance(seconds=15)
        harness.reconcile_all()


def holder(harness: OperatorHarness, secret: str) -> str | None:
    stored = harness.store.objects.get(Ref("Secret", "leave", secret))
    return stored.existing.labels["scopewright.dev/client"] if stored else None


@pytest.mark.parametrize("why", ["quota", "conflict"])
def test_a_secret_that_another_client_names_stays_until_its_client_has_a_new_one(why: str) -> None:
    harness = OperatorHarness()
    moved = declare_client(harness, "a", "one")
    harness.settle()
    new = Ref("Secret", "leave", "two")
    if why == "quota":
        harness.store.refuse(str(new), Rejected("QuotaExceeded", "exceeded quota"))
    else:
        harness.store.put(Existing(new, "", "", "Opaque", {MANAGED_BY: MANAGER}), {"x": b"foreign"})
    declare_client(harness, "a", "two")
    other = declare_client(harness, "b", "one")
    reconcile_rounds(harness)
    assert harness.condition(moved).startswith("False")
    assert harness.condition(other) == "False SecretConflict"
    assert holder(harness, "one") == "a", "its Pods still mount the Secret"
    harness.store.stop_refusing()
    if why == "conflict":
        harness.store.delete_by_hand(new)
    reconcile_rounds(harness)
    assert {harness.condition(key) for key in (moved, other)} == {"True Provisioned"}
    assert (holder(harness, "one"), holder(harness, "two")) == ("b", "a")


def test_a_chain_of_clients_keeps_its_secrets_until_the_last_has_a_new_one() -> None:
    harness = OperatorHarness()
    for client, secret in (("a", "one"), ("b", "two")):
        declare_client(harness, client, secret)
    harness.settle()
    harness.store.refuse("Secret leave/three", Rejected("QuotaExceeded", "exceeded quota"))
    moves = (("a", "two"), ("b", "three"), ("c", "one"))
    keys = [declare_client(harness, client, secret) for client, secret in moves]
    reconcile_rounds(harness)
    assert (holder(harness, "one"), holder(harness, "two")) == ("a", "b")
    harness.store.stop_refusing()
    reconcile_rounds(harness)
    assert {harness.condition(key) for key in keys} == {"True Provisioned"}
    assert [holder(harness, secret) for _, secret in moves] == ["a", "b", "c"]


def test_clients_that_swap_secrets_wait_for_a_paused_one() -> None:
    harness = OperatorHarness()
    for client, secret in (("a", "one"), ("b", "two")):
        declare_client(harness, client, secret)
    harness.settle()
    declare_client(harness, "b", "one", paused="true")
    declare_client(harness, "a", "two")
    reconcile_rounds(harness)
    assert (holder(harness, "one"), holder(harness, "two")) == ("a", "b")
    declare_client(harness, "b", "one")
    reconcile_rounds(harness)
    assert (holder(harness, "one"), holder(harness, "two")) == ("b", "a")
