"""Rules 1 to 12 of protocol.md."""

import re
from datetime import timedelta
from typing import Any

import httpx
import jwt
import pytest

from scopewright.core.records.client import Credential, RequestedAccess
from scopewright.core.records.issuer import IssuerRecord
from scopewright.issuer.protocol.request import MAX_BODY_BYTES, has_no_secrets
from scopewright.verifier import ALGORITHMS
from tests.harness.clock import START
from tests.harness.issuer import IssuerHarness, settle
from tests.harness.samples import ISSUER, PAYROLL, SECRET, client_record, key_record, private_key, server_record, sha256

FORM = {"content-type": "application/x-www-form-urlencoded"}
BASIC = ("leave.leave-worker", SECRET)


def refusal(response: httpx.Response) -> tuple[int, str]:
    return response.status_code, response.json()["error"]


# 1


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_1_other_methods_than_post_are_refused(harness: IssuerHarness, method: str) -> None:
    response = await harness.http.request(method, "/token")
    assert response.status_code == 405
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("content_type", ["application/json", "multipart/form-data; boundary=x", "text/plain", ""])
async def test_1_body_that_is_not_a_form_is_refused(harness: IssuerHarness, content_type: str) -> None:
    response = await harness.http.post(
        "/token", content=b"grant_type=client_credentials", auth=BASIC, headers={"content-type": content_type}
    )
    assert refusal(response) == (400, "invalid_request")


async def test_1_charset_in_the_content_type_is_accepted(harness: IssuerHarness) -> None:
    headers = {"content-type": "Application/X-WWW-Form-Urlencoded; charset=UTF-8"}
    response = await harness.http.post("/token", content=b"grant_type=client_credentials", auth=BASIC, headers=headers)
    assert response.status_code == 200


async def test_1_a_large_body_is_refused(harness: IssuerHarness) -> None:
    response = await harness.http.post("/token", content=b"a" * (MAX_BODY_BYTES + 1), headers=FORM, auth=BASIC)
    assert refusal(response) == (413, "invalid_request")


# 2


@pytest.mark.parametrize("name", ["grant_type", "scope", "client_id", "made_up"])
async def test_2_a_repeated_parameter_is_refused(harness: IssuerHarness, name: str) -> None:
    body = f"grant_type=client_credentials&{name}=x&{name}=x"
    assert refusal(await harness.http.post("/token", content=body, headers=FORM, auth=BASIC)) == (
        400,
        "invalid_request",
    )


async def test_2_resource_and_audience_may_repeat(harness: IssuerHarness) -> None:
    body = f"grant_type=client_credentials&resource={PAYROLL}&resource={PAYROLL}&audience=a&audience=b"
    assert (await harness.http.post("/token", content=body, headers=FORM, auth=BASIC)).status_code == 200


async def test_2_empty_and_unknown_parameters_are_ignored(harness: IssuerHarness) -> None:
    body = "grant_type=client_credentials&scope=&scope=&resource=&client_secret=&client_id=&nonsense=1&&=x"
    assert (await harness.http.post("/token", content=body, headers=FORM, auth=BASIC)).status_code == 200


# 3


@pytest.mark.parametrize("body", ["", "grant_type=", "scope=payroll.read"])
async def test_3_missing_grant_type_is_an_invalid_request(harness: IssuerHarness, body: str) -> None:
    assert refusal(await harness.http.post("/token", content=body, headers=FORM, auth=BASIC)) == (
        400,
        "invalid_request",
    )


async def test_3_unknown_grant_type_is_unsupported(harness: IssuerHarness) -> None:
    assert refusal(await harness.token(grant_type="password")) == (400, "unsupported_grant_type")


async def test_3_grant_type_that_the_client_may_not_use_is_unauthorized(harness: IssuerHarness) -> None:
    harness.put(client_record(grant_types=("urn:ietf:params:oauth:grant-type:token-exchange",)))
    await settle()
    assert refusal(await harness.token()) == (400, "unauthorized_client")


# 4


@pytest.mark.parametrize(
    "extra", [{"client_secret": SECRET}, {"client_assertion": "x"}, {"client_assertion_type": "x"}]
)
async def test_4_two_authentication_methods_are_refused(harness: IssuerHarness, extra: dict[str, str]) -> None:
    assert refusal(await harness.token(**extra)) == (400, "invalid_request")


async def test_4_two_authorization_headers_are_refused(harness: IssuerHarness) -> None:
    headers = [(b"authorization", b"Basic eDp5"), (b"authorization", b"Basic eDp5"), (b"content-type", b"x")]
    response = await harness.http.post("/token", content="grant_type=client_credentials", headers=headers)
    assert refusal(response) == (400, "invalid_request")


async def test_4_client_id_parameter_must_equal_the_one_in_basic(harness: IssuerHarness) -> None:
    form = {"grant_type": "client_credentials", "client_id": "leave.leave-worker"}
    assert (await harness.http.post("/token", data=form, auth=BASIC)).status_code == 200
    form["client_id"] = "leave.other"
    assert refusal(await harness.http.post("/token", data=form, auth=BASIC)) == (400, "invalid_request")


@pytest.mark.parametrize("name", ["client_secret", "client_id", "client_assertion", "client%5Fsecret"])
async def test_4_correct_credentials_in_the_query_are_refused(harness: IssuerHarness, name: str) -> None:
    response = await harness.http.post(
        f"/token?{name}={SECRET}", content="grant_type=client_credentials", headers=FORM, auth=BASIC
    )
    assert refusal(response) == (400, "invalid_request")
    assert SECRET not in response.text


async def test_4_other_parts_of_a_query_are_ignored(harness: IssuerHarness) -> None:
    response = await harness.http.post(
        "/token?tenant=1", content="grant_type=client_credentials", headers=FORM, auth=BASIC
    )
    assert response.status_code == 200


# 5


async def test_5_basic_is_split_at_the_first_colon_and_form_decoded(harness: IssuerHarness) -> None:

    harness.put(client_record(credentials=(Credential(sha256("a b:c%+ü"), START),)))
    await settle()
    encoded = "a+b:c%25%2B%C3%BC"
    response = await harness.token(client_id="leave%2Eleave-worker", secret=encoded)
    assert response.status_code == 200


async def test_5_client_secret_post_is_accepted(harness: IssuerHarness) -> None:
    form = {"grant_type": "client_credentials", "client_id": "leave.leave-worker", "client_secret": SECRET}
    assert (await harness.http.post("/token", data=form)).status_code == 200


@pytest.mark.parametrize(
    "value", ["Basic", "Basic !!!", "Basic eA==", "Basic /////w==", "Bearer abc", "Basic " + "A" * 5000]
)
async def test_5_a_malformed_authorization_header_is_an_invalid_client(harness: IssuerHarness, value: str) -> None:
    response = await harness.http.post(
        "/token", data={"grant_type": "client_credentials"}, headers={"authorization": value}
    )
    assert refusal(response) == (401, "invalid_client")
    assert response.headers["www-authenticate"].startswith("Basic ")


# 6


async def test_6_wrong_secret_is_an_invalid_client_with_a_challenge_for_basic(
    harness: IssuerHarness,
) -> None:
    response = await harness.token(secret="wrong")
    assert refusal(response) == (401, "invalid_client")
    assert response.headers["www-authenticate"].startswith("Basic ")


async def test_6_a_wrong_secret_in_the_body_gets_no_challenge(harness: IssuerHarness) -> None:
    form = {"grant_type": "client_credentials", "client_id": "leave.leave-worker", "client_secret": "wrong"}
    response = await harness.http.post("/token", data=form)
    assert refusal(response) == (401, "invalid_client")
    assert "www-authenticate" not in response.headers


async def test_6_missing_credential_is_an_invalid_client(harness: IssuerHarness) -> None:
    response = await harness.http.post("/token", data={"grant_type": "client_credentials"})
    assert refusal(response) == (401, "invalid_client")


async def test_6_unknown_wrong_disabled_and_malformed_clients_get_the_same_response(harness: IssuerHarness) -> None:
    harness.put(client_record(name="off", disabled=True))
    harness.put(client_record(name="pod", method="ServiceAccount", credentials=()))
    harness.put(client_record(name="signer", method="PrivateKeyJWT", credentials=()))
    await settle()
    answers = [
        await harness.token(secret="wrong"),
        await harness.token("leave.unknown"),
        await harness.token("leave.off"),
        await harness.token("leave.pod"),
        await harness.token("leave.signer"),
        await harness.token("Not.A.Client", "x"),
        await harness.token("", ""),
    ]
    assert {(a.status_code, a.content, tuple(a.headers.raw)) for a in answers} == {
        (401, answers[0].content, tuple(answers[0].headers.raw))
    }


# 7


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"grant_type": "x"},
        {"grant_type": "client_credentials", "scope": 'no"such\\scope'},
        {"grant_type": "client_credentials", "resource": "https://ü.example"},
        {"grant_type": "client_credentials", "client_secret": SECRET},
        {"grant_type": "client_credentials"},
    ],
)
async def test_7_every_response_is_json_with_no_store(harness: IssuerHarness, form: dict[str, str]) -> None:
    response = await harness.http.post("/token", data=form, auth=BASIC, headers=FORM)
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "application/json"
    description = response.json().get("error_description", "")
    assert re.fullmatch(r"[\x20-\x21\x23-\x5b\x5d-\x7e]*", description)


# 8


async def test_8_scope_that_is_not_granted_is_refused_and_not_silently_omitted(harness: IssuerHarness) -> None:
    assert refusal(await harness.token(scope="payroll.read payroll.write")) == (400, "invalid_scope")


async def test_8_request_without_scope_gets_all_granted_scopes(harness: IssuerHarness) -> None:
    assert (await harness.token()).json()["scope"] == "payroll.read"


async def test_8_scopes_are_in_the_requested_order(harness: IssuerHarness) -> None:
    harness.put(
        client_record(
            namespace="payroll", access=(RequestedAccess("payroll/payroll-api", ("payroll.read", "payroll.write")),)
        )
    )
    await settle()
    response = await harness.token("payroll.leave-worker", scope="payroll.write payroll.read payroll.write")
    assert response.json()["scope"] == "payroll.write payroll.read"


async def test_8_unknown_and_ungranted_resources_are_the_same_invalid_target(harness: IssuerHarness) -> None:
    harness.put(server_record(name="secret-api", audience="https://secret-api.payroll.svc"))
    harness.put(server_record(name="bare-api", audience="https://bare-api.payroll.svc", grants=()))
    asked = (
        RequestedAccess("payroll/payroll-api", ("payroll.read",)),
        RequestedAccess("payroll/bare-api", ("payroll.read",)),
    )
    harness.put(client_record(access=asked))
    await settle()
    answers = [
        await harness.token(resource="https://nowhere.example"),
        await harness.token(resource="https://secret-api.payroll.svc"),
        await harness.token(resource="https://bare-api.payroll.svc"),
        await harness.token(resource="https://bare-api.payroll.svc", scope="payroll.read"),
        await harness.token(resource="not a uri"),
    ]
    assert {refusal(a) for a in answers} == {(400, "invalid_target")}
    assert len({a.content for a in answers}) == 1


async def test_8_two_resources_are_an_invalid_target(harness: IssuerHarness) -> None:
    assert refusal(await harness.token(resource=[PAYROLL, "https://x.example"])) == (400, "invalid_target")


async def test_8_a_client_with_several_audiences_must_name_one(harness: IssuerHarness) -> None:
    asked = (RequestedAccess("payroll/payroll-api", ("payroll.read",)), RequestedAccess("hr/hr-api", ("hr.read",)))
    harness.put(client_record(access=asked))
    await settle()
    response = await harness.token()
    assert refusal(response) == (400, "invalid_target")
    assert "name the resource" in response.json()["error_description"]
    assert (await harness.token(resource=PAYROLL)).status_code == 200


# 9


async def test_9_response_has_no_refresh_token_and_expires_in_is_exp_minus_iat(harness: IssuerHarness) -> None:
    response = await harness.token()
    claims = await harness.claims(response)
    assert set(response.json()) == {"access_token", "token_type", "expires_in", "scope"}
    assert response.json()["token_type"] == "Bearer"
    assert response.json()["expires_in"] == claims["exp"] - claims["iat"] == 600


# 10


async def test_10_header_and_claims_are_those_of_rfc_9068(harness: IssuerHarness) -> None:
    response = await harness.token()
    header = jwt.get_unverified_header(response.json()["access_token"])
    assert header == {"typ": "at+jwt", "alg": "ES256", "kid": key_record().kid}
    claims = await harness.claims(response)
    assert claims.pop("jti")
    assert claims == {
        "iss": ISSUER,
        "sub": "leave.leave-worker",
        "client_id": "leave.leave-worker",
        "aud": PAYROLL,
        "iat": int(START.timestamp()),
        "exp": int(START.timestamp()) + 600,
        "scope": "payroll.read",
    }


@pytest.mark.parametrize("algorithm", ["ES256", "ES384", "RS256", "PS256", "Ed25519"])
async def test_10_token_is_signed_with_the_key_that_the_resource_server_names(
    harness: IssuerHarness, algorithm: str
) -> None:
    record = harness.put_key(algorithm, 7, signing_key="other", config_map="other-jwks")
    harness.publish(record.jwk, name="other-jwks")
    harness.put(server_record(signing_key="other"))
    await settle()
    response = await harness.token()
    assert jwt.get_unverified_header(response.json()["access_token"])["kid"] == record.kid
    assert (await harness.claims(response))["aud"] == PAYROLL


async def test_10_token_has_a_list_of_scopes_if_the_resource_server_asks_for_it(
    harness: IssuerHarness,
) -> None:
    harness.put(server_record(scopes_list_claim=True))
    await settle()
    claims = await harness.claims(await harness.token())
    assert (claims["scopes"], claims["scope"]) == (["payroll.read"], "payroll.read")


# 11


async def metadata(harness: IssuerHarness, path: str) -> dict[str, Any]:
    response = await harness.http.get(path)
    assert response.status_code == 200, path
    content: dict[str, Any] = response.json()
    return content


async def test_11_metadata_is_correct_and_has_no_empty_list(harness: IssuerHarness) -> None:
    content = await metadata(harness, "/.well-known/oauth-authorization-server")
    assert content == {
        "issuer": ISSUER,
        "token_endpoint": f"{ISSUER}/token",
        "jwks_uri": f"{ISSUER}/jwks.json",
        "introspection_endpoint": f"{ISSUER}/introspect",
        "scopewright_revocation_feed_uri": f"{ISSUER}/revocations",
        "response_types_supported": ["none"],
        "grant_types_supported": ["client_credentials", "urn:ietf:params:oauth:grant-type:token-exchange"],
        "token_endpoint_auth_methods_supported": ["client_secret_basic", "client_secret_post", "private_key_jwt"],
        "token_endpoint_auth_signing_alg_values_supported": sorted(ALGORITHMS),
        "dpop_signing_alg_values_supported": ["ES256", "ES384", "RS256", "PS256", "EdDSA", "Ed25519"],
        "introspection_endpoint_auth_methods_supported": [
            "client_secret_basic",
            "client_secret_post",
            "private_key_jwt",
        ],
        "introspection_endpoint_auth_signing_alg_values_supported": sorted(ALGORITHMS),
    }
    openid = await metadata(harness, "/.well-known/openid-configuration")
    assert openid == content | {
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }


async def test_11_metadata_has_the_revocation_endpoint_if_the_issuer_can_write(services: IssuerHarness) -> None:
    content = await metadata(services, "/.well-known/oauth-authorization-server")
    assert content["revocation_endpoint"] == f"{ISSUER}/revoke"
    methods = content["token_endpoint_auth_methods_supported"]
    assert content["revocation_endpoint_auth_methods_supported"] == methods


async def test_11_metadata_of_an_issuer_with_a_path_is_served_before_and_after_the_path() -> None:
    harness = IssuerHarness()
    issuer = "https://Example.org:8443/tenants/hr%20x"
    harness.install_defaults(issuer)
    async with harness.running():
        before = await metadata(harness, "/.well-known/oauth-authorization-server/tenants/hr%20x")
        after = await metadata(harness, "/tenants/hr%20x/.well-known/openid-configuration")
        assert before["issuer"] == after["issuer"] == issuer
        assert (await harness.http.get("/tenants/hr%20x/jwks.json")).status_code == 200
        form = {"grant_type": "client_credentials"}
        assert (await harness.http.post("/tenants/hr%20x/token", data=form, auth=BASIC)).status_code == 200
        for path in ("/token", "/jwks.json", "/.well-known/openid-configuration"):
            assert (await harness.http.get(path)).status_code == 404


# 12


async def test_12_the_key_set_is_public_with_use_and_alg_and_may_be_cached(harness: IssuerHarness) -> None:
    second = harness.put_key("RS256", 3, signing_start_time=START + timedelta(days=1))
    harness.publish(key_record().jwk, second.jwk, second.jwk)
    harness.put(IssuerRecord(ISSUER, jwks_max_age=120))
    await settle()
    response = await harness.http.get("/jwks.json")
    assert response.headers["cache-control"] == "public, max-age=120"
    keys = response.json()["keys"]
    assert [k["kid"] for k in keys] == [key_record().kid, second.kid]
    assert all(k["use"] == "sig" and k["alg"] in ("ES256", "RS256") for k in keys)
    assert not {"d", "p", "q", "dp", "dq", "qi", "k"} & {member for k in keys for member in k}
    assert private_key("RS256", 3)


async def test_12_an_unchanged_key_set_is_not_sent_again(harness: IssuerHarness) -> None:
    etag = (await harness.http.get("/jwks.json")).headers["etag"]
    for value in (etag, f'"x", W/{etag}', "*"):
        response = await harness.http.get("/jwks.json", headers={"if-none-match": value})
        assert (response.status_code, response.content) == (304, b"")
    assert (await harness.http.get("/jwks.json", headers={"if-none-match": '"x"'})).status_code == 200


@pytest.mark.parametrize(
    ("body", "harmless"),
    [
        (b"grant_type=client_credentials&scope=a&resource=https%3A%2F%2Fapi", True),
        (b"grant_type=client_credentials&client_id=a.b&client_secret=x", False),
        (b"client_secret=x", False),
        (b"grant_type=a&token=x", False),
        (b"scope=" + b"a" * 201, False),
    ],
)
def test_form_with_unknown_parameters_is_not_cached(body: bytes, harmless: bool) -> None:
    """It might be a secret."""
    assert has_no_secrets(body) is harmless
