"""Every middleware decides as vectors.json says, and its application sees the path that was decided about."""

import json
from collections.abc import Iterator

import pytest

from scopewright.verifier import Verifier
from scopewright.verifier.canonical_path import canonical_path, canonical_segments, split_path
from scopewright.verifier.patterns import PathAuthentication
from tests.rules.middleware import LITESTAR_METHODS, MIDDLEWARE, wsgi_service
from tests.rules.vectors import NO_RULE, REFUSED, RULES, VECTORS, Scopes, Vector
from tests.unit.verifier.integrations.service import Answer, Headers, Service, bearer, new_verifier
from tests.unit.verifier.integrations.transports import WsgiService
from tests.unit.verifier.support import token

GARBAGE = bearer("garbage")


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return new_verifier()


@pytest.fixture(scope="module")
def tokens() -> dict[frozenset[str], Headers]:
    """A token with some scopes, made once."""
    made: dict[frozenset[str], Headers] = {}
    for rules in RULES.values():
        scopes = Scopes(rules)
        for names in (scopes.all, *(f(rule) for rule in rules.rules for f in (scopes.of, scopes.others))):
            made[names] = made.get(names) or bearer(token(scope=" ".join(sorted(names))))
    return made


class Driver:
    """Sends the requests of vectors to one application, and reports what is not as the vector says."""

    def __init__(self, service: Service, name: str, tokens: dict[frozenset[str], Headers]) -> None:
        self._service = service
        self._name = name
        self._tokens = tokens

    def problems(self, vector: Vector, target: str, expected_path: tuple[str, ...]) -> Iterator[str]:
        scopes = Scopes(RULES[vector.rules])
        rule = vector.rule
        wide = self._tokens[scopes.all]
        if vector.decision == REFUSED:
            # A server or a router may refuse some before a middleware or a dependency can.
            statuses = (400, 404, 405) if self._name == "FastAPI" else (400,)
            yield from self._refused(vector, target, wide, statuses)
            yield from self._refused(vector, target, (), statuses)
        elif rule is None:
            assert vector.decision == NO_RULE
            yield from self._refused(vector, target, wide, (403,), None)
            yield from self._refused(vector, target, (), (403,), None)
        elif rule.authentication is PathAuthentication.REQUIRED:
            yield from self._passed(vector, target, self._tokens[scopes.of(rule)], expected_path)
            yield from self._refused(vector, target, (), (401,), None)
            yield from self._refused(vector, target, self._tokens[scopes.others(rule)], (403,), "insufficient_scope")
        else:
            yield from self._passed(vector, target, (), expected_path)
            # The route of the FastAPI application asks for a token that is valid if it is sent.
            if rule.authentication is PathAuthentication.NONE and self._name != "FastAPI":
                yield from self._passed(vector, target, GARBAGE, expected_path)
            else:
                yield from self._refused(vector, target, GARBAGE, (401,), "invalid_token")

    def _send(self, vector: Vector, target: str, headers: Headers) -> tuple[Answer, list[str]]:
        self._service.record.seen.clear()
        answer = self._service.send(target, headers, vector.method)
        return answer, list(self._service.record.seen)

    def _passed(self, vector: Vector, target: str, headers: Headers, path: tuple[str, ...]) -> Iterator[str]:
        answer, seen = self._send(vector, target, headers)
        if answer.status != 200 or [split_path(each) for each in seen] != [path]:
            yield f"{vector.id} is {answer.status} and not {vector.decision}: {seen} {answer.body!r}"

    def _refused(
        self, vector: Vector, target: str, headers: Headers, statuses: tuple[int, ...], error: str | None = ""
    ) -> Iterator[str]:
        answer, seen = self._send(vector, target, headers)
        if answer.status not in statuses or seen:
            yield f"{vector.id} is {answer.status} and not {vector.decision}: {seen} {answer.body!r}"
            return
        has_body = error != "" and vector.method != "HEAD" and self._name != "FastAPI"
        if has_body and (found := json.loads(answer.body).get("error")) != error:
            yield f"{vector.id} has the error {found}"


@pytest.mark.parametrize("rules", RULES)
@pytest.mark.parametrize("name", MIDDLEWARE)
def test_middleware_decides(name: str, rules: str, verifier: Verifier, tokens: dict[frozenset[str], Headers]) -> None:
    with MIDDLEWARE[name](verifier, RULES[rules].with_base_path(), "") as service:
        driver = Driver(service, name, tokens)
        found = [
            problem
            for vector in VECTORS
            if vector.rules == rules and can_be_sent(name, vector)
            for problem in driver.problems(vector, vector.target, expected_path(vector))
        ]
    assert found == []


@pytest.mark.parametrize("rules", [name for name, rules in RULES.items() if rules.base_segments])
@pytest.mark.parametrize("name", list(MIDDLEWARE))
def test_middleware_below_the_base_path_decides_in_the_same_way(
    name: str, rules: str, verifier: Verifier, tokens: dict[frozenset[str], Headers]
) -> None:
    base = RULES[rules].base_path
    sent = [vector for vector in VECTORS if vector.rules == rules and vector.target.startswith(f"{base}/")]
    assert len(sent) > 5
    with MIDDLEWARE[name](verifier, RULES[rules], base) as service:
        driver = Driver(service, name, tokens)
        found = [
            problem
            for vector in sent
            for problem in driver.problems(
                vector,
                vector.target if name == "aiohttp" else vector.target.removeprefix(base),
                expected_path(vector)[len(RULES[rules].base_segments) :],
            )
        ]
    assert found == []


def can_be_sent(name: str, vector: Vector) -> bool:
    """Whether a server of this interface can pass the request on, and the middleware can see what is wrong with it."""
    if vector.is_refused_for_its_query:
        return False
    if name == "aiohttp":
        is_known = vector.decision == REFUSED or set(vector.method) != {"G"}  # its parser has a list of methods
        return is_known and not set(vector.target) & set(" \r\n") and len(vector.target) < 8000
    if name == "Litestar" and vector.rule is not None and vector.method not in LITESTAR_METHODS:
        return False
    if name == "FastAPI":
        return vector.target.partition("?")[0] != ""  # redirected by its router
    return vector.target != "" or name not in ("WSGI", "Flask", "Django over WSGI")


def expected_path(vector: Vector) -> tuple[str, ...]:
    return () if vector.decision == REFUSED else canonical_path(vector.target.encode("latin-1"))


@pytest.mark.parametrize("rules", RULES)
def test_middleware_without_the_raw_path_decides_about_the_path_that_is_routed(
    rules: str, verifier: Verifier, tokens: dict[frozenset[str], Headers]
) -> None:
    """The server of the standard library passes the decoded path alone."""
    matched = RULES[rules].with_base_path()
    wide = tokens[Scopes(matched).all]
    for vector in VECTORS:
        if vector.rules != rules:
            continue
        with wsgi_service(verifier, matched, "") as service:
            assert isinstance(service, WsgiService)
            decoded = WsgiService(service.app, service.record, raw_uri=False)
            status = decoded.send(vector.target, wide, vector.method).status
        for path in service.record.seen:
            assert matched.find(vector.method, canonical_segments(path)) is not None, vector
        if vector.rule is not None:
            assert (status, len(service.record.seen)) == (200, 1), vector
        elif vector.decision == NO_RULE:
            assert (status, service.record.seen) == (403, []), vector
