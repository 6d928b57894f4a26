"""What the profile FAPI2 and the bounds on keys mean for declared objects: who is refused, and what the status says."""

from typing import Any

import pytest

from scopewright.core.config import Config
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE

EC = {"kty": "EC", "crv": "P-256", "kid": "ec", "x": "MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4"}
EC |= {"y": "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM"}
RSA = {"kty": "RSA", "kid": "rsa", "n": "-" * 342, "e": "AQAB"}


def harness(**settings: Any) -> OperatorHarness:
    found = OperatorHarness(Config.model_validate({"issuer": ISSUER, **settings}))
    found.apply("SigningKey", NAMESPACE, "default")
    return found


def with_keys(*keys: dict[str, str]) -> dict[str, Any]:
    return {"authentication": {"method": "PrivateKeyJWT", "jwks": {"keys": list(keys)}}}


@pytest.mark.parametrize("method", ["ClientSecret", "ServiceAccount"])
def test_fapi2_allows_only_private_key_jwt(method: str) -> None:
    found = harness(profile="FAPI2")
    found.service_accounts["leave/worker"] = "uid"
    authentication = {"method": method} | ({"serviceAccount": {"name": "worker"}} if method == "ServiceAccount" else {})
    ref = found.apply("OAuthClient", "leave", "worker", {"authentication": authentication})
    pair = found.apply("OAuthClient", "leave", "pair", {"authentication": {"method": "PrivateKeyJWT"}})
    found.settle()
    assert found.condition(ref) == "False ProfileForbids"
    assert found.condition(ref, "Stalled") == "True ProfileForbids"
    assert found.client_record("leave", "worker") is None
    assert found.condition(pair) == "True Provisioned"


def test_fapi2_allows_only_some_algorithms_and_requires_dpop() -> None:
    found = harness(profile="FAPI2")
    rs256 = found.apply("SigningKey", NAMESPACE, "rs256", {"algorithm": "RS256", "jwks": {"configMapName": "rs256"}})
    scopes = {"scopes": [{"name": "read"}]}
    good = found.apply("ResourceServer", "payroll", "good", scopes)
    bad = found.apply("ResourceServer", "payroll", "bad", scopes | {"tokens": {"signingKey": "rs256"}})
    found.settle()
    found.clock.advance(days=2)
    found.settle()
    assert found.condition(rs256) == "False ProfileForbids"
    assert found.condition(good) == "True Served"
    assert found.condition(bad) == "False ProfileForbids"
    assert [record.signing_key for record in found.key_records()] == ["default"], "no key is made for it"
    record = found.server_record("payroll", "good")
    assert record
    assert record.dpop_required


def test_fapi2_ignores_rsa_keys_without_ps256() -> None:
    found = harness(profile="FAPI2")
    ref = found.apply("OAuthClient", "leave", "worker", with_keys(EC, RSA, {**RSA, "kid": "ps", "alg": "PS256"}))
    found.settle()
    assert found.condition(ref) == "True Provisioned"
    assert found.condition(ref, "KeysIgnored") == "True UnsupportedKey"
    [said] = [c for c in found.status(ref)["conditions"] if c["type"] == "KeysIgnored"]
    assert "key rsa of" in said["message"]
    assert "key ps of" not in said["message"]


def test_an_unsupported_key_is_ignored_and_reported_in_the_status() -> None:
    found = harness()
    large, dear = {**RSA, "kid": "large", "n": "-" * 1024}, {**RSA, "kid": "dear", "e": "_____________w"}
    some = found.apply("OAuthClient", "leave", "some", with_keys(EC, large, dear))
    none = found.apply("OAuthClient", "leave", "none", with_keys(large))
    found.settle()
    assert found.condition(some) == "True Provisioned"
    assert found.condition(some, "KeysIgnored") == "True UnsupportedKey"
    assert found.condition(none) == "False UnsupportedKey"
    found.apply("OAuthClient", "leave", "none", with_keys(EC))
    found.apply("OAuthClient", "leave", "some", with_keys(EC))
    found.settle()
    assert found.condition(none) == "True Provisioned"
    assert found.condition(some, "KeysIgnored") == ""


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
