"""The main job: apply manifests, read the Secret, get a token from the issuer, verify it in the called service."""

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import jwt
import pytest

from scopewright.client import ClientCredentials
from scopewright.verifier import Reason, Token, TokenRejected, Verifier

from .installation import Installation, decoded
from .kube import Manifest
from .manifests import access_entry, oauth_client, resource_server, scope_grant
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, until


def claims(token: str) -> dict[str, object]:
    return dict(jwt.decode(token, options={"verify_signature": False}))


def refused(installation: Installation, client: Manifest) -> bool:
    return installation.error(*installation.credentials(client)) == "invalid_target"


async def verified(installation: Installation, audience: str, token: str, *scopes: str) -> Token:
    async with httpx.AsyncClient(trust_env=False) as http:
        return await Verifier(installation.issuer_url, audience, http=http).verify(token, scopes=scopes)


async def test_a_client_of_applied_manifests_gets_a_token_that_verifies(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    client_id, secret = installation.credentials(payroll.client)
    token = installation.token(client_id, secret)
    found = await verified(installation, payroll.audience, token, "payroll.read")
    assert client_id == found.client_id == found.subject == f"{payroll.caller}.leave-worker"
    assert found.scopes == {"payroll.read"}
    assert found.audience == (payroll.audience,)
    header = jwt.get_unverified_header(token)
    assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")
    assert header["kid"] in installation.jwks()
    with pytest.raises(TokenRejected) as refusal:
        await verified(installation, payroll.audience, token, "payroll.write")
    assert refusal.value.reason is Reason.SCOPE
    with pytest.raises(TokenRejected) as refusal:
        await verified(installation, "https://other.example", token)
    assert refusal.value.reason is Reason.AUDIENCE


def test_the_secret_contains_everything_that_a_service_needs(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    client_id, secret = installation.credentials(payroll.client)
    found = installation.kube.get("Secret", payroll.caller, "leave-worker-oauth")
    assert found is not None
    assert found["type"] == "servicebinding.io/oauth2"
    assert decoded(found) == {
        "type": "oauth2",
        "provider": "scopewright",
        "client_id": client_id,
        "client_secret": secret,
        "issuer": installation.issuer_url,
        "token_endpoint": f"{installation.issuer_url}/token",
        "jwks_uri": f"{installation.issuer_url}/jwks.json",
        "scope": "payroll.read",
        "audience": payroll.audience,
    }
    [owner] = found["metadata"]["ownerReferences"]
    assert owner["uid"] == installation.read(payroll.client)["metadata"]["uid"]
    assert owner["blockOwnerDeletion"] is False
    status = installation.status(payroll.client)
    assert status["clientID"] == client_id
    assert status["binding"] == {"name": "leave-worker-oauth"}
    assert status["access"] == [
        {
            "resourceServer": "payroll-api",
            "namespace": payroll.owner,
            "audience": payroll.audience,
            "granted": ["payroll.read"],
            "missing": [],
        }
    ]
    assert installation.status(payroll.grant)["grantedTo"] == 1
    assert installation.status(payroll.server)["grants"] == 1


def test_a_service_with_the_mounted_secret_calls_the_api(
    installation: Installation, make_namespace: MakeNamespace, tmp_path: Path
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    installation.credentials(payroll.client)
    for entry, value in installation.secret(payroll.caller, "leave-worker-oauth").items():
        (tmp_path / entry).write_text(value)
    got: list[str] = []

    def api(request: httpx.Request) -> httpx.Response:
        got.append(request.headers["authorization"])
        return httpx.Response(200)

    with httpx.Client(trust_env=False) as direct:
        auth = ClientCredentials(tmp_path, http=direct)
        with httpx.Client(auth=auth, transport=httpx.MockTransport(api)) as http:
            assert http.get("https://payroll-api/salaries").status_code == 200
    [sent] = got
    assert claims(sent.removeprefix("Bearer "))["aud"] == payroll.audience


def test_tokens_follow_the_settings_of_the_resource_server(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace, tokens={"lifetime": "90s", "scopesListClaim": True})
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.token(*credentials)
    answer = installation.post_token(*credentials).json()
    found = claims(answer["access_token"])
    assert answer["expires_in"] == 90
    assert int(str(found["exp"])) - int(str(found["iat"])) == 90
    assert found["scope"] == "payroll.read"
    assert found["scopes"] == ["payroll.read"]


def test_a_lifetime_over_the_maximum_is_shortened_and_reported(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace, tokens={"lifetime": "5h"})
    installation.apply(*payroll.manifests)
    installation.wait_for(payroll.server, "LifetimeTooLong")
    installation.wait_until_ready(payroll.client, payroll.grant)
    credentials = installation.credentials(payroll.client)
    installation.token(*credentials)
    assert installation.post_token(*credentials).json()["expires_in"] == 3600


def test_a_deleted_grant_ends_new_tokens_within_five_seconds(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    installation.token(*installation.credentials(payroll.client))
    installation.delete(payroll.grant)
    assert eventually(lambda: refused(installation, payroll.client), seconds=5)
    installation.wait_for(payroll.client, "NotGranted", "AccessGranted")
    assert installation.condition(payroll.client)["status"] == "True", "a client without a grant must be Ready"


def test_a_deleted_client_is_refused_within_five_seconds(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    credentials = installation.credentials(payroll.client)
    installation.delete(payroll.client)
    assert eventually(lambda: installation.error(*credentials) == "invalid_client", seconds=5)
    assert eventually(lambda: installation.kube.get("Secret", payroll.caller, "leave-worker-oauth") is None)


def test_clients_of_the_apis_own_namespace_need_no_grant(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    own = oauth_client(
        payroll.owner, "nightly", {"resourceServer": "payroll-api", "scopes": ["payroll.write", "payroll.read"]}
    )
    installation.apply_and_wait(payroll.server, own)
    token = installation.token(*installation.credentials(own))
    assert claims(token)["scope"] == "payroll.write payroll.read"


def test_a_subset_of_the_scopes_is_issued_and_further_scopes_are_refused(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    own = oauth_client(
        payroll.owner, "nightly", {"resourceServer": "payroll-api", "scopes": ["payroll.write", "payroll.read"]}
    )
    installation.apply_and_wait(*payroll.manifests, own)
    token = installation.token(*installation.credentials(own), scope="payroll.write")
    assert claims(token)["scope"] == "payroll.write"
    credentials = installation.credentials(payroll.client)
    assert installation.error(*credentials, scope="payroll.read payroll.write") == "invalid_scope"


def test_a_selector_follows_the_labels_of_namespaces(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    grant = payroll.granting({"namespaceSelector": {"matchLabels": {"team": "hr"}}})
    installation.apply_and_wait(payroll.client, payroll.server, grant)
    assert refused(installation, payroll.client)
    installation.kube.patch("Namespace", "", payroll.caller, {"metadata": {"labels": {"team": "hr"}}})
    assert eventually(lambda: not refused(installation, payroll.client), seconds=5)
    installation.wait_for(payroll.client, "Granted", "AccessGranted")
    until(lambda: installation.status(grant).get("grantedTo") == 1, lambda: installation.status(grant))
    installation.kube.patch("Namespace", "", payroll.caller, {"metadata": {"labels": {"team": None}}})
    assert eventually(lambda: refused(installation, payroll.client), seconds=5)


@pytest.mark.parametrize("all_namespaces", [True, False])
def test_a_grant_to_a_namespace_or_to_all_namespaces_covers_the_client(
    installation: Installation, make_namespace: MakeNamespace, all_namespaces: bool
) -> None:
    payroll = Payroll(make_namespace)
    to: dict[str, object] = {"allNamespaces": True} if all_namespaces else {"namespace": payroll.caller}
    installation.apply_and_wait(payroll.client, payroll.server, payroll.granting(to))
    installation.wait_for(payroll.client, "Granted", "AccessGranted")
    installation.token(*installation.credentials(payroll.client))


def test_a_token_does_not_outlive_its_grant(installation: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    end = (datetime.now(UTC) + timedelta(seconds=8)).replace(microsecond=0)
    grant = payroll.granting({"namespace": payroll.caller}, expirationTime=f"{end:%FT%TZ}")
    installation.apply_and_wait(payroll.client, payroll.server, grant)
    credentials = installation.credentials(payroll.client)
    token = installation.token(*credentials)
    assert int(str(claims(token)["exp"])) <= end.timestamp()
    # By the end in the record, without any write.
    time.sleep(max(0.0, end.timestamp() - time.time()))
    assert installation.error(*credentials) == "invalid_target"
    installation.wait_for(grant, "Expired")
    installation.wait_for(payroll.client, "NotGranted", "AccessGranted")


def test_entries_of_the_secret_have_the_names_that_the_client_declares(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(
        namespace,
        "renamed",
        credentials={
            "secretName": "renamed-credentials",
            "keys": {"clientID": "CLIENT_ID", "clientSecret": "CLIENT_SECRET"},
            "secretTemplate": {"labels": {"team": "leave"}, "annotations": {"example.com/reload": "yes"}},
        },
    )
    installation.apply_and_wait(client)
    entries = installation.secret(namespace, "renamed-credentials")
    assert installation.accepts(entries["CLIENT_ID"], entries["CLIENT_SECRET"])
    assert "client_id" not in entries
    found = installation.kube.get("Secret", namespace, "renamed-credentials")
    assert found is not None
    assert found["metadata"]["labels"]["team"] == "leave"
    assert found["metadata"]["annotations"]["example.com/reload"] == "yes"


def test_a_renamed_secret_gets_a_new_credential_with_overlap(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    namespace = make_namespace("leave")
    client = oauth_client(namespace, "mover")
    installation.apply_and_wait(client)
    before = installation.credentials(client)
    installation.apply_and_wait(oauth_client(namespace, "mover", credentials={"secretName": "moved"}))
    after = installation.credentials(client, "moved")
    assert after[1] != before[1]
    assert installation.accepts(*after)
    assert installation.accepts(*before)
    assert installation.kube.get("Secret", namespace, "mover-oauth") is not None, "Pods still mount it"


def test_an_audience_under_a_prefix_of_the_platform_is_used(
    installation: Installation, make_namespace: MakeNamespace
) -> None:
    owner = installation.make_audience_namespace()
    server = resource_server(owner, "hr-api", "hr.read", audience="https://hr.example/apis/hr")
    caller = make_namespace("leave")
    client = oauth_client(caller, "worker", access_entry(owner, "hr-api", "hr.read"))
    installation.apply_and_wait(
        server, client, scope_grant(owner, "all", "hr-api", ["hr.read"], {"allNamespaces": True})
    )
    credentials = installation.credentials(client)
    named = installation.secret(caller, "worker-oauth")["audience"]
    for resource in (named, "https://hr.example/apis/hr"):
        assert claims(installation.token(*credentials, resource=resource))["aud"] == "https://hr.example/apis/hr"
