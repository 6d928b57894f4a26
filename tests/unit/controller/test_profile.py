"""The profile FAPI2 and the limits of keys: which objects are refused, and what their status reports."""

from typing import Any

import pytest

from scopewright.core.config import Config
from scopewright.core.failures import Unavailable
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE

EC = {"kty": "EC", "crv": "P-256", "kid": "ec", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"}
EC |= {"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
RSA = {"kty": "RSA", "kid": "rsa", "n": "-" * 342, "e": "AQAB"}


def configured_harness(**settings: Any) -> OperatorHarness:
    harness = OperatorHarness(Config.model_validate({"issuer": ISSUER, **settings}))
    harness.apply("SigningKey", NAMESPACE, "default")
    return harness


def with_keys(*keys: dict[str, str]) -> dict[str, Any]:
    return {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": list(keys)}}}


WEB_LOGIN = {"redirectURIs": ["https://web.hr.example/callback"]}
HOSTS = {"applications": [{"namespaces": ["hr"], "hosts": ["web.hr.example"]}]}


@pytest.mark.parametrize("method", ["ClientSecret", "ServiceAccount"])
def test_fapi2_allows_only_private_key_jwt(method: str) -> None:
    harness = configured_harness(profile="FAPI2")
    harness.service_accounts["leave/worker"] = "uid"
    authentication = {"method": method} | ({"serviceAccount": {"name": "worker"}} if method == "ServiceAccount" else {})
    ref = harness.apply("OAuthClient", "leave", "worker", {"authentication": authentication})
    pair = harness.apply("OAuthClient", "leave", "pair", {"authentication": {"method": "PrivateKeyJWT"}})
    harness.settle()
    assert harness.condition(ref) == "False ProfileForbids"
    assert harness.condition(ref, "Stalled") == "True ProfileForbids"
    assert harness.client_record("leave", "worker") is None
    assert harness.condition(pair) == "True Provisioned"


def test_fapi2_allows_only_some_algorithms_and_requires_dpop() -> None:
    harness = configured_harness(profile="FAPI2")
    rs256 = harness.apply("SigningKey", NAMESPACE, "rs256", {"algorithm": "RS256", "jwks": {"configMapName": "rs256"}})
    scopes = {"scopes": [{"name": "read"}]}
    good = harness.apply("ResourceServer", "payroll", "good", scopes)
    bad = harness.apply("ResourceServer", "payroll", "bad", scopes | {"tokens": {"signingKey": "rs256"}})
    harness.settle()
    harness.clock.advance(days=2)
    harness.settle()
    assert harness.condition(rs256) == "False ProfileForbids"
    assert harness.condition(good) == "True Served"
    assert harness.condition(bad) == "False ProfileForbids"
    assert [record.signing_key for record in harness.key_records()] == ["default"], (
        "a key was made for the forbidden SigningKey"
    )
    record = harness.server_record("payroll", "good")
    assert record
    assert record.dpop_required


def test_a_login_needs_a_signing_key_with_an_algorithm_that_the_profile_allows() -> None:
    host = {"namespaces": ["hr"], "hosts": ["web.hr.example"]}
    harness = configured_harness(profile="FAPI2", users={"applications": [host]})
    harness.apply("SigningKey", NAMESPACE, "id-tokens", {"algorithm": "RS256", "jwks": {"configMapName": "rs256"}})
    login = {"redirectURIs": ["https://web.hr.example/callback"]}
    spec = {"grantTypes": ["authorization_code"], "authentication": {"method": "PrivateKeyJWT"}, "login": login}
    web = harness.apply("OAuthClient", "hr", "web", spec)
    harness.apply_provider()
    harness.settle()
    assert harness.condition(web) == "True Provisioned"
    assert harness.condition(web, "LoginAllowed") == "False ProfileForbids"
    harness.apply("OAuthClient", "hr", "web", spec | {"login": login | {"idTokenSigningKey": "default"}})
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"


@pytest.mark.parametrize("method", ["ClientSecret", "None"])
def test_fapi2_allows_no_login_through_a_client_of_another_method(method: str) -> None:
    harness = configured_harness(profile="FAPI2", users=HOSTS)
    harness.apply("SigningKey", NAMESPACE, "id-tokens")
    spec = {"grantTypes": ["authorization_code"], "authentication": {"method": method}, "login": WEB_LOGIN}
    web = harness.apply("OAuthClient", "hr", "web", spec)
    harness.apply_provider()
    harness.settle()
    assert harness.condition(web) == "False ProfileForbids"
    assert harness.condition(web, "LoginAllowed") == "False ProfileForbids"
    [allowed] = [c for c in harness.status(web)["conditions"] if c["type"] == "LoginAllowed"]
    assert allowed["message"].startswith("no user can log in: the platform's profile FAPI2 does not allow method")
    harness.apply("OAuthClient", "hr", "web", spec | {"authentication": {"method": "PrivateKeyJWT"}})
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"


def test_a_signing_key_made_anew_for_the_profile_has_a_new_key_at_once() -> None:
    """An installation with RS256 for ID tokens switches: the platform team deletes SigningKey/id-tokens, and the
    operator creates it again with ES256. The RS256 key stays published until its tokens have ended, and signs nothing.
    """
    harness = configured_harness(users=HOSTS)
    rs256 = {"algorithm": "RS256", "jwks": {"configMapName": "id-tokens"}}
    es256 = rs256 | {"algorithm": "ES256"}
    key = harness.apply("SigningKey", NAMESPACE, "id-tokens", rs256)
    harness.settle()
    harness.config = harness.config.model_copy(update={"profile": "FAPI2"})
    harness.restart()
    spec = {"grantTypes": ["authorization_code"], "authentication": {"method": "PrivateKeyJWT"}, "login": WEB_LOGIN}
    web = harness.apply("OAuthClient", "hr", "web", spec)
    harness.apply_provider()
    harness.settle()
    [stalled] = [c for c in harness.status(key)["conditions"] if c["type"] == "Ready"]
    assert "delete this SigningKey, and the operator creates it again with ES256" in stalled["message"]
    [allowed] = [c for c in harness.status(web)["conditions"] if c["type"] == "LoginAllowed"]
    assert "ask the platform team to delete SigningKey id-tokens" in allowed["message"]
    harness.delete(key)
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "False IDTokenKeyNotReady", "the RS256 key signs nothing"
    key = harness.apply("SigningKey", NAMESPACE, "id-tokens", es256)
    harness.settle()
    assert harness.condition(key) == "True Signing"
    assert harness.condition(web, "LoginAllowed") == "True Allowed"
    algorithms = [record.algorithm for record in harness.key_records() if record.signing_key == "id-tokens"]
    assert sorted(algorithms) == ["ES256", "RS256"]
    harness.clock.advance(days=400)
    harness.settle()
    algorithms = [record.algorithm for record in harness.key_records() if record.signing_key == "id-tokens"]
    assert "RS256" not in algorithms


def test_a_forbidden_key_without_times_gets_them_and_is_removed_in_the_end() -> None:
    """The operator stopped for the switch between the record of a key and its publication."""
    harness = configured_harness()
    harness.apply("SigningKey", NAMESPACE, "id-tokens", {"algorithm": "RS256", "jwks": {"configMapName": "id-tokens"}})
    harness.store.refuse(f"ConfigMap {NAMESPACE}/id-tokens", Unavailable("no answer"))
    harness.reconcile_all()
    harness.store.stop_refusing()
    assert [r.signing_start_time for r in harness.key_records() if r.algorithm == "RS256"] == [None]
    harness.config = harness.config.model_copy(update={"profile": "FAPI2"})
    harness.restart()
    harness.settle()
    harness.clock.advance(days=400)
    harness.settle()
    assert "RS256" not in [record.algorithm for record in harness.key_records()]


def test_a_login_follows_the_signing_key_of_its_id_tokens() -> None:
    host = {"namespaces": ["hr"], "hosts": ["web.hr.example"]}
    harness = configured_harness(users={"applications": [host]})
    login = {"redirectURIs": ["https://web.hr.example/callback"], "idTokenSigningKey": "company"}
    web = harness.apply("OAuthClient", "hr", "web", {"grantTypes": ["authorization_code"], "login": login})
    harness.apply_provider()
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "False IDTokenKeyNotReady"
    harness.apply("SigningKey", NAMESPACE, "company", {"algorithm": "RS256"})
    harness.settle()
    harness.clock.advance(days=2)
    harness.settle()
    assert harness.condition(web, "LoginAllowed") == "True Allowed"
    signs_for = {
        key.record.signing_key: web in harness.cache.relations.of_managed(ref)
        for ref, key in harness.cache.managed.keys.items()
    }
    assert signs_for == {"company": True, "default": False}, "a change of the key reconciles the client"


def test_fapi2_ignores_rsa_keys_without_ps256() -> None:
    harness = configured_harness(profile="FAPI2")
    ref = harness.apply("OAuthClient", "leave", "worker", with_keys(EC, RSA, {**RSA, "kid": "ps", "alg": "PS256"}))
    harness.settle()
    assert harness.condition(ref) == "True Provisioned"
    assert harness.condition(ref, "KeysIgnored") == "True UnsupportedKey"
    [condition] = [c for c in harness.status(ref)["conditions"] if c["type"] == "KeysIgnored"]
    assert "key rsa of" in condition["message"]
    assert "key ps of" not in condition["message"]


def test_an_unsupported_key_is_ignored_and_reported_in_the_status() -> None:
    harness = configured_harness()
    large, slow = {**RSA, "kid": "large", "n": "-" * 1024}, {**RSA, "kid": "slow", "e": "_____________w"}
    some = harness.apply("OAuthClient", "leave", "some", with_keys(EC, large, slow))
    none = harness.apply("OAuthClient", "leave", "none", with_keys(large))
    harness.settle()
    assert harness.condition(some) == "True Provisioned"
    assert harness.condition(some, "KeysIgnored") == "True UnsupportedKey"
    assert harness.condition(none) == "False UnsupportedKey"
    harness.apply("OAuthClient", "leave", "none", with_keys(EC))
    harness.apply("OAuthClient", "leave", "some", with_keys(EC))
    harness.settle()
    assert harness.condition(none) == "True Provisioned"
    assert harness.condition(some, "KeysIgnored") == ""


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"profile": "FAPI2", "clockSkew": "5s"}, "clockSkew must be between 10s and 60s"),
        ({"profile": "FAPI2", "clockSkew": "61s"}, "clockSkew must be between 10s and 60s"),
        ({"profile": "FAPI2", "maxTokenLifetime": "2h"}, "maxTokenLifetime must be at most 1h"),
        ({"profile": "FAPI2", "dpop": {"algorithms": ["ES256", "RS256"]}}, "dpop.algorithms has RS256"),
        ({"profile": "FAPI1"}, "profile"),
        ({"dpop": {"algorithms": ["HS256"]}}, "dpop.algorithms"),
        ({"limits": {"bytesPerNamespace": "4 MB"}}, "limits.bytesPerNamespace"),
        ({"limits": {"objectsPerNamespace": 0}}, "limits.objectsPerNamespace"),
    ],
)
def test_a_configuration_beyond_profile_or_limits_is_rejected(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Config.model_validate({"issuer": ISSUER, **settings})


def test_limits_are_written_as_kubernetes_writes_quantities() -> None:
    for written in (4194304, "4194304", "4Mi", "4096Ki"):
        config = Config.model_validate({"issuer": ISSUER, "limits": {"bytesPerNamespace": written}})
        assert config.limits.bytes_per_namespace == 4 * 2**20
