"""`for_resource` and `on_behalf_of`: other APIs and callers, with one credential, one HTTP client and one key."""

from typing import Any

import httpx
import pytest

from scopewright.client import ClientCredentials, TokenError
from scopewright.testing import FakeIssuer
from tests.unit.client.support import Api, Endpoint, FakeClock, IssuerServer, Mount, call, refused

PAYROLL, LEAVE = "https://payroll.example", "https://leave.example"


@pytest.fixture
def auth(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> ClientCredentials:
    return ClientCredentials(mount.path, PAYROLL, "payroll.read", http=endpoint.client(), clock=clock)


def test_each_api_has_its_own_token(auth: ClientCredentials, endpoint: Endpoint) -> None:
    api = Api()
    with call(api, auth) as client:
        for _ in range(2):
            client.get("/salaries")
            client.get("https://leave.example", auth=auth.for_resource(LEAVE, ["leave.read", "leave.approve"]))
            client.get("https://leave.example", auth=auth.for_resource(LEAVE))
    assert api.sent == ["Bearer token-1", "Bearer token-2", "Bearer token-3"] * 2
    assert [endpoint.form(n)["resource"] for n in range(3)] == [[PAYROLL], [LEAVE], [LEAVE]]
    assert endpoint.form(1)["scope"] == ["leave.read leave.approve"]
    assert "scope" not in endpoint.form(2), "the scope is for another API"


def test_same_arguments_return_the_same_object(auth: ClientCredentials) -> None:
    leave = auth.for_resource(LEAVE, "leave.read")
    assert leave is auth.for_resource(LEAVE, ["leave.read"])
    assert (
        leave is leave.for_resource(LEAVE, "leave.read") is auth.for_resource(PAYROLL).for_resource(LEAVE, "leave.read")
    )
    assert auth.for_resource(PAYROLL, "payroll.read") is auth
    assert auth.on_behalf_of("t").for_resource(LEAVE) is auth.for_resource(LEAVE).on_behalf_of("t")


def test_token_of_a_caller_is_exchanged_for_one_of_another_api(auth: ClientCredentials, endpoint: Endpoint) -> None:
    auth.for_resource(LEAVE, "leave.read").on_behalf_of("the-callers-token").token_sync()
    assert endpoint.form()["subject_token"] == ["the-callers-token"]
    assert (endpoint.form()["resource"], endpoint.form()["scope"]) == ([LEAVE], ["leave.read"])


@pytest.mark.parametrize("token", ["", None])
def test_missing_token_of_a_caller_is_an_error_and_not_the_service_itself(auth: ClientCredentials, token: Any) -> None:
    with pytest.raises(ValueError, match="on_behalf_of needs a token"):
        auth.on_behalf_of(token)


def test_verified_token_of_a_caller_is_exchanged(auth: ClientCredentials, endpoint: Endpoint) -> None:
    issuer = FakeIssuer()
    text = issuer.token("payroll.read")
    verified = issuer.verifier().verify_sync(text)
    assert auth.on_behalf_of(verified) is auth.on_behalf_of(text)
    auth.on_behalf_of(verified).token_sync()
    assert endpoint.form()["subject_token"] == [text]


@pytest.mark.parametrize("wrong", [b"SecretToken", 7, object()])
@pytest.mark.parametrize("method", ["on_behalf_of", "invalidate", "introspect_sync", "revoke_sync"])
def test_value_that_is_no_token_is_a_type_error_at_the_call(
    auth: ClientCredentials, endpoint: Endpoint, method: str, wrong: Any
) -> None:
    with pytest.raises(TypeError, match=f"{method} takes a token as a string.*not {type(wrong).__name__}") as caught:
        getattr(auth, method)(wrong)
    assert "SecretToken" not in str(caught.value)
    assert not endpoint.requests


def test_empty_resource_is_an_error_and_not_the_api_of_the_secret(auth: ClientCredentials) -> None:
    with pytest.raises(ValueError, match="for_resource needs the audience of an API"):
        auth.for_resource("")


def test_api_in_use_is_not_dropped_by_many_callers(auth: ClientCredentials) -> None:
    leave = auth.for_resource(LEAVE)
    for number in range(3000):
        auth.for_resource(LEAVE).on_behalf_of(str(number))
    assert auth.for_resource(LEAVE) is leave
    assert len(auth._variants) == 1000


def test_options_and_key_are_those_of_the_first_object(mount: Mount, endpoint: Endpoint, clock: FakeClock) -> None:
    auth = ClientCredentials(
        mount.path, PAYROLL, http=endpoint.client(), clock=clock, dpop=True, hosts=["a.example"], allow_http=["b.svc"]
    )
    leave = auth.for_resource(LEAVE)
    names = ("source", "_http", "_prover", "_destinations", "_context", "_unshared", "_clock")
    assert all(getattr(leave, name) is getattr(auth, name) for name in names)


def test_class_of_the_application_is_kept(mount: Mount) -> None:
    class Named(ClientCredentials):
        def __init__(self, name: str, *arguments: Any) -> None:
            super().__init__(*arguments)
            self.name = name

    other = Named("payroll", mount.path).for_resource(LEAVE)
    assert (type(other), other.name) == (Named, "payroll")


def test_refusal_of_one_api_does_not_concern_another(auth: ClientCredentials, endpoint: Endpoint) -> None:
    assert auth.token_sync().value == "token-1"
    endpoint.answers = [refused("invalid_target")]
    with pytest.raises(TokenError, match=f"may not ask for {LEAVE}"):
        auth.for_resource(LEAVE).token_sync()
    assert auth.token_sync().value == "token-1"


@pytest.mark.parametrize("as_text", [True, False])
def test_invalidated_token_is_replaced_for_the_next_caller(
    auth: ClientCredentials, endpoint: Endpoint, as_text: bool
) -> None:
    token = auth.token_sync()
    auth.invalidate(token.value if as_text else token)
    assert auth.token_sync().value == "token-2"


def test_invalidation_of_another_token_is_ignored(auth: ClientCredentials, endpoint: Endpoint) -> None:
    old = auth.token_sync()
    auth.invalidate("another")
    auth.invalidate(auth.for_resource(LEAVE).token_sync())
    auth.invalidate(old)
    assert auth.token_sync().value == "token-3"
    auth.invalidate(old)
    assert auth.token_sync().value == "token-3"


def test_tokens_are_not_replaced_at_every_invalidation(
    auth: ClientCredentials, endpoint: Endpoint, clock: FakeClock
) -> None:
    for _ in range(20):
        auth.invalidate(auth.token_sync())
    assert len(endpoint.requests) == 2
    clock.instant += 10
    auth.invalidate(auth.token_sync())
    auth.token_sync()
    assert len(endpoint.requests) == 3


def test_invalidation_before_the_first_token_is_ignored(auth: ClientCredentials) -> None:
    auth.invalidate("any")
    assert auth.token_sync().value == "token-1"


def test_invalidated_token_is_used_while_the_issuer_is_unavailable(auth: ClientCredentials, endpoint: Endpoint) -> None:
    auth.invalidate(auth.token_sync())
    endpoint.answers = [httpx.Response(503, headers={"retry-after": "3600"})]
    assert auth.token_sync().value == "token-1"


def test_metadata_is_fetched_once_for_all_apis(mount: Mount, issuer: IssuerServer, clock: FakeClock) -> None:
    mount.write(token_endpoint=None)
    auth = ClientCredentials(mount.path, http=issuer.client(), clock=clock)
    for resource in (PAYROLL, LEAVE):
        auth.for_resource(resource).token_sync()
    assert len([path for path in issuer.paths if "well-known" in path]) == 1
