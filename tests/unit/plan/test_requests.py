"""Which requests a change of rules, scopes or grants newly allows, and to whom."""

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scopewright.core.http_rules import rules_of
from scopewright.core.records.resource_server import HttpAccess, HttpRule, ResourceServerRecord
from scopewright.plan.callers import CallerIndex
from scopewright.plan.changes import Caller, EffectiveScope, GrantedUsers, PlanResult, RequestChange
from scopewright.plan.output.json import document
from scopewright.plan.output.lines import MAX_REQUEST_LINES, anyone_lines, request_lines
from scopewright.plan.requests import request_changes, unreachable_rules
from scopewright.verifier.patterns import PathPattern
from scopewright.verifier.rules import Rules, RulesInvalid

AUDIENCE = "https://payroll.hr.example"
PAYROLL = "payroll/payroll"
READ = HttpRule("read", ("/salaries/**",), ("GET",), scopes=("read",))


def public(name: str, *paths: str, methods: tuple[str, ...] = (), authentication: Any = "None") -> HttpRule:
    return HttpRule(name, paths, methods, authentication)


def api(*rules: HttpRule, name: str = "payroll", audience: str = AUDIENCE, **http: Any) -> ResourceServerRecord:
    access = HttpAccess(**{"hostnames": ("payroll.hr.example",), **http}, rules=rules)
    return ResourceServerRecord("payroll", name, "uid", audience, http=access)


def scope(client: str, name: str = "read", users: GrantedUsers | None = None, role: bool = False) -> EffectiveScope:
    return EffectiveScope(client, PAYROLL, name, users=users, is_role=role)


def changes(
    before: ResourceServerRecord | None,
    after: ResourceServerRecord | None,
    had: Iterable[EffectiveScope] = (),
    has: Iterable[EffectiveScope] | None = None,
) -> list[RequestChange]:
    old, new = ({record.key: record} if record else {} for record in (before, after))
    had = list(had)
    return all_changes(old, new, had, had if has is None else has)


def all_changes(
    before: Mapping[str, ResourceServerRecord],
    after: Mapping[str, ResourceServerRecord],
    had: Iterable[EffectiveScope] = (),
    has: Iterable[EffectiveScope] = (),
) -> list[RequestChange]:
    found = request_changes(before, after, CallerIndex(had), CallerIndex(has))
    assert not found.uncompared
    return found.changes


def lines(found: Iterable[RequestChange]) -> list[str]:
    result = PlanResult(requests=tuple(found))
    return sorted([*anyone_lines(result), *request_lines(result)])


def test_a_new_rule_without_authentication_is_open_to_anyone() -> None:
    added = public("health", "/healthz", "/livez"), public("hook", "/hooks/*", methods=("POST",))
    assert lines(changes(None, api(*added))) == [
        "+ ANYONE may POST https://payroll.hr.example/hooks/* (payroll/payroll, rule hook)",
        "+ ANYONE may use any method on https://payroll.hr.example/healthz (payroll/payroll, rule health)",
        "+ ANYONE may use any method on https://payroll.hr.example/livez (payroll/payroll, rule health)",
    ]


def test_a_rule_with_optional_authentication_is_open_to_anyone() -> None:
    [change] = changes(api(READ), api(READ, public("a", "/a", authentication="Optional")))
    assert change.is_anyone


def test_renaming_splitting_and_ordering_rules_change_nothing() -> None:
    before = api(public("a", "/a", "/b"), READ)
    after = api(
        HttpRule("reading", ("/salaries/**/",), ("GET",), scopes=("read",)), public("b", "/b"), public("c", "/a")
    )
    assert changes(before, after, [scope("leave/worker")]) == []


def test_a_method_that_is_added_is_named_alone() -> None:
    before, after = api(public("a", "/a", methods=("GET",))), api(public("a", "/a", methods=("GET", "PUT")))
    assert lines(changes(before, after)) == ["+ ANYONE may PUT https://payroll.hr.example/a (payroll/payroll, rule a)"]
    every = api(public("a", "/a"))
    assert lines(changes(before, every)) == [
        "+ ANYONE may use any method but GET on https://payroll.hr.example/a (payroll/payroll, rule a)"
    ]


def test_rule_that_disappears_in_front_of_a_wider_one_is_reported() -> None:
    """No pattern is new: the wider one decides about more."""
    wide = public("wide", "/**", authentication="Optional")
    before = api(wide, HttpRule("admin", ("/admin/**",), roles=("admin",)))
    assert lines(changes(before, api(wide))) == [
        "+ ANYONE may use any method on https://payroll.hr.example/admin/** (payroll/payroll, rule wide)"
    ]


def test_requests_of_a_deleted_api_do_not_become_those_of_the_api_around_it() -> None:
    around = api(public("all", "/**"), name="portal")
    inner = api(READ, name="inner", base_path="/payroll")
    assert all_changes({around.key: around, inner.key: inner}, {around.key: around}) == []
    [opened] = all_changes({inner.key: inner}, {around.key: around, inner.key: inner})
    assert opened.server == around.key
    assert "/payroll/**" not in opened.paths


def test_each_hostname_is_compared_alone() -> None:
    before, after = api(public("a", "/a")), api(public("a", "/a"), hostnames=("new.example", "payroll.hr.example"))
    assert lines(changes(before, after)) == [
        "+ ANYONE may use any method on https://new.example/a (payroll/payroll, rule a)"
    ]


def test_paths_begin_with_the_base_path() -> None:
    assert lines(changes(None, api(public("a", "/", "/a/**"), base_path="/v1"))) == [
        "+ ANYONE may use any method on https://payroll.hr.example/v1 (payroll/payroll, rule a)",
        "+ ANYONE may use any method on https://payroll.hr.example/v1/a/** (payroll/payroll, rule a)",
    ]


def test_rules_without_hostname_are_compared_by_audience() -> None:
    """Only middleware enforces them."""
    after = api(public("a", "/a"), READ, audience="api://payroll", hostnames=())
    assert lines(changes(None, after, [scope("leave/worker")])) == [
        "+ ANYONE may use any method on api://payroll/a (payroll/payroll, rule a)",
        "+ leave/worker may GET api://payroll/salaries/** (payroll/payroll, rule read)",
    ]


def test_an_audience_that_is_not_in_force_has_no_open_paths() -> None:
    assert changes(None, api(audience="", hostnames=())) == []


def test_patterns_that_differ_in_case_are_one_where_the_service_ignores_case() -> None:
    before = api(public("a", "/Assets/**"), case_sensitive=False)
    assert changes(before, api(public("a", "/assets/**"), case_sensitive=False)) == []


def test_paths_that_another_rule_decides_about_by_their_case_are_reported() -> None:
    rules = HttpRule("admin", ("/admin/**",), scopes=("admin",)), public("wide", "/**", authentication="Optional")
    assert lines(changes(api(*rules, case_sensitive=False), api(*rules))) == [
        "+ ANYONE may use any method on https://payroll.hr.example/ADMIN/** (payroll/payroll, rule wide)"
    ]


def test_a_client_that_gets_a_scope_may_send_the_requests_of_its_rules() -> None:
    before = after = api(READ, HttpRule("write", ("/salaries/**",), ("PUT",), any_scope=("write", "admin")))
    had = [scope("leave/worker")]
    found = changes(before, after, had, [*had, scope("leave/worker", "admin"), scope("reports/nightly", "write")])
    assert lines(found) == [
        "+ leave/worker, reports/nightly may PUT payroll.hr.example/salaries/** (payroll/payroll, rule write)"
    ]
    assert lines(changes(before, after, had, [])) == [
        "- leave/worker may no longer GET payroll.hr.example/salaries/** (payroll/payroll, rule read)"
    ]


@pytest.mark.parametrize(
    ("rule", "carried", "satisfied"),
    [
        ({"scopes": ("a", "b")}, {"a"}, False),
        ({"scopes": ("a", "b")}, {"a", "b"}, True),
        ({"any_scope": ("a", "b")}, {"b"}, True),
        ({"any_scope": ("a", "b")}, {"c"}, False),
        ({"scopes": ("a",), "any_scope": ("b", "c")}, {"a"}, False),
        ({"scopes": ("a",), "any_scope": ("b", "c")}, {"a", "c"}, True),
        ({"roles": ("r",)}, {"a"}, False),
        ({"roles": ("r", "s")}, {"a", "role s"}, True),
        ({"scopes": ("b",), "roles": ("r",)}, {"a", "role r"}, False),
        ({}, {"a"}, True),
        ({}, set(), False),
    ],
)
def test_a_rule_is_satisfied_as_the_verifier_decides(rule: dict[str, Any], carried: set[str], satisfied: bool) -> None:
    needed = api(HttpRule("a", ("/a",), ("GET",), **rule))
    has = [scope("leave/worker", name.removeprefix("role "), role=name.startswith("role ")) for name in carried]
    assert bool(changes(needed, needed, [], has)) is satisfied


MANAGERS, ADA = GrantedUsers(group="managers"), GrantedUsers(subject="u-ada")
BOTH = api(HttpRule("a", ("/a",), ("GET",), scopes=("read", "write")))


def callers(had: Iterable[EffectiveScope], has: Iterable[EffectiveScope]) -> list[str]:
    found = changes(BOTH, BOTH, had, has)
    return sorted(f"{'+' if c.gained else '-'} {caller}" for c in found for caller in c.callers)


def test_groups_have_what_every_user_has_too() -> None:
    every = scope("hr/web", "read", GrantedUsers())
    assert callers([every], [every, scope("hr/web", "write", MANAGERS)]) == ["+ group managers through hr/web"]


def test_users_of_several_groups_are_reported_where_no_group_suffices() -> None:
    reading, writing = scope("hr/web", "read", MANAGERS), scope("hr/web", "write", ADA)
    assert callers([reading], [reading, writing]) == ["+ users of several groups through hr/web"]


def test_scopes_of_several_clients_are_never_joined() -> None:
    assert callers([], [scope("hr/web", "read"), scope("hr/other", "write")]) == []
    assert callers([], [scope("hr/web", "read"), scope("hr/web", "write", ADA)]) == []


def test_a_group_gains_nothing_that_every_user_had() -> None:
    every = [scope("hr/web", name, GrantedUsers()) for name in ("read", "write")]
    managers = [scope("hr/web", name, MANAGERS) for name in ("read", "write")]
    assert callers(every, managers) == ["- every user through hr/web"]
    assert callers(managers, every) == ["+ every user through hr/web"]


def test_a_rule_that_needs_a_token_now_takes_nothing_from_its_callers() -> None:
    found = changes(api(public("a", "/salaries/**", methods=("GET",))), api(READ), [scope("leave/worker")])
    assert lines(found) == [
        "- ANYONE may no longer GET https://payroll.hr.example/salaries/** (payroll/payroll, rule a)"
    ]


def test_lines_of_thousands_of_callers_and_rules_are_bounded_and_the_json_is_complete() -> None:
    has = [scope(f"team-{n:04}/worker") for n in range(3000)]
    found = changes(api(), api(READ), has)
    named = "team-0000/worker, team-0001/worker, team-0002/worker, team-0003/worker and 2996 others"
    assert lines(found) == [f"+ {named} may GET payroll.hr.example/salaries/** (payroll/payroll, rule read)"]
    [gained] = document(PlanResult(requests=tuple(found)))["requests"]["gained"]
    assert len(gained["callers"]) == 3000

    rules = [HttpRule(f"r{n}", (f"/{n}",), scopes=("read",)) for n in range(64)]
    hostnames = tuple(f"h{n}.example" for n in range(4))
    many = request_lines(PlanResult(requests=tuple(changes(None, api(*rules, hostnames=hostnames), has))))
    assert len(many) == MAX_REQUEST_LINES + 1
    assert many[-1] == f"  and {64 * 4 - MAX_REQUEST_LINES} more: see the JSON output"


def test_rules_with_too_many_patterns_are_listed_and_not_compared() -> None:
    paths = [f"/{'*/' * n}a{'/*' * (14 - n)}" for n in range(15)]
    rules = [public("open", *paths), HttpRule("more", tuple(f"{path}/b" for path in paths), scopes=("read",))]
    record = api(*rules)
    found = request_changes(
        {record.key: record}, {record.key: record}, CallerIndex(()), CallerIndex([scope("leave/worker")])
    )
    assert found.uncompared == {PAYROLL}
    assert [(change.rule, change.callers, len(change.paths)) for change in found.changes] == [
        ("open", (), 15),
        ("more", (Caller("leave/worker"),), 15),
    ]


def test_a_rule_without_a_request_of_its_own_is_unreachable() -> None:
    http = HttpAccess(
        rules=(
            HttpRule("exact", ("/a", "/a/*", "/a/*/**"), scopes=("a",)),
            HttpRule("never", ("/a/**",), scopes=("a",)),
            HttpRule("often", ("/b/**",), scopes=("a",)),
        ),
        base_path="/v1",
    )
    assert unreachable_rules(http) == ("never",)
    contradicting = HttpAccess(rules=(public("a", "/a"), public("b", "/a")))
    assert unreachable_rules(contradicting) == ()


SEGMENTS = st.sampled_from(["a", "b", "*"])
PATTERNS = st.builds(
    lambda segments, rest: "/" + "/".join([*segments, *rest]),
    st.lists(SEGMENTS, max_size=3),
    st.sampled_from([(), (), ("**",)]),
)
AUTHENTICATION: list[Literal["Required", "Optional", "None"]] = ["Required", "Optional", "None"]
RULES = st.lists(
    st.tuples(
        st.lists(PATTERNS, min_size=1, max_size=3, unique=True).map(tuple),
        st.lists(st.sampled_from(["GET", "PUT"]), max_size=2, unique=True).map(tuple),
        st.sampled_from(AUTHENTICATION),
        st.sampled_from(["read", "write"]),
    ),
    max_size=4,
).map(
    lambda drawn: tuple(
        HttpRule(f"r{n}", paths, methods, authentication, (needed,) if authentication == "Required" else ())
        for n, (paths, methods, authentication, needed) in enumerate(drawn)
    )
)
REQUESTS = st.tuples(
    st.sampled_from(["GET", "PUT", "DELETE"]), st.lists(st.sampled_from(["a", "b", "c"]), max_size=4).map(tuple)
)


def allowed(rules: Rules, method: str, path: tuple[str, ...]) -> set[str]:
    """Who may send the request; every token has one scope."""
    rule = rules.find(method, path)
    if rule is None:
        return set()
    return {"anyone", "reader", "writer"} if rule.authentication != "Required" else {f"{rule.scopes[0].rstrip('e')}er"}


@given(RULES, RULES, st.lists(REQUESTS, min_size=1, max_size=20))
@settings(max_examples=300)
def test_exactly_the_requests_that_are_decided_otherwise_are_reported(
    before: tuple[HttpRule, ...], after: tuple[HttpRule, ...], requests: list[tuple[str, tuple[str, ...]]]
) -> None:
    old, new = api(*before), api(*after)
    try:
        old_rules, new_rules = (rules_of(record.http, AUDIENCE) for record in (old, new) if record.http)
    except RulesInvalid:
        return
    tokens = [scope("reader"), scope("writer", "write")]
    found = changes(old, new, tokens)
    for method, path in requests:
        had, has = allowed(old_rules, method, path), allowed(new_rules, method, path)
        for gained, more in ((True, has - had), (False, had - has)):
            expected = {"anyone"} if "anyone" in more else more
            assert covering(found, method, path, gained=gained) >= expected
    for change in found:
        assert any(is_exact(change, old_rules, new_rules, path) for path in change.paths)


def covering(found: list[RequestChange], method: str, path: tuple[str, ...], *, gained: bool) -> set[str]:
    return {
        who
        for change in found
        if change.gained is gained
        and (method in change.methods if change.methods else method not in change.except_methods)
        and any(PathPattern.parse(pattern).covers(PathPattern(path)) for pattern in change.paths)
        for who in (map(str, change.callers) if change.callers else ("anyone",))
    }


def is_exact(change: RequestChange, before: Rules, after: Rules, pattern: str) -> bool:
    """Whether some request of the change is decided otherwise."""
    segments = PathPattern.parse(pattern).segments
    paths = [tuple(wild if s == "*" else s for s in segments if s != "**") for wild in ("other", "a", "b")]
    paths += [(*path, more) for path in paths if segments[-1:] == ("**",) for more in ("other", "a", "b")]
    methods = change.methods or [m for m in ("GET", "PUT", "DELETE") if m not in change.except_methods]
    return any(allowed(before, method, path) != allowed(after, method, path) for method in methods for path in paths)
