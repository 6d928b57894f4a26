"""Revocation on a real API server: effective at all issuers within seconds, also after restarts and edits."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from scopewright.core.records.names import REVOCATIONS_NAME
from scopewright.verifier import Reason, RevocationFeed, TokenRejected, Verifier
from tests.ports import free_port

from .installation import Install, Installation
from .kube import Manifest
from .manifests import access_entry, oauth_client, resource_server, scope_grant
from .payroll import MakeNamespace, Payroll
from .processes import ScopewrightProcess
from .waiting import eventually, until

EXCHANGE = "urn:ietf:params:oauth:grant-type:token-exchange"


@pytest.fixture(scope="module")
def revoking(install: Install) -> Installation:
    """A separate installation, because issuers are killed and keys revoked."""
    return install("revoking", resync="1s", jwksMaxAge="1s", replicaLag="1s")


class Replica:
    """One more issuer of the installation on another port, with the same `iss`, as behind a Service."""

    def __init__(self, installation: Installation) -> None:
        self._installation = installation
        self.url = f"http://127.0.0.1:{free_port()}"
        self.start()

    def start(self) -> None:
        installation = self._installation
        arguments = ["issuer", "--namespace", installation.namespace, "--listen", self.url.removeprefix("http://")]
        self.process: ScopewrightProcess = installation.run(arguments, installation.user("issuer"), "replica")
        until(lambda: installation.is_ready(self.url), lambda: installation.logs())


@pytest.fixture
def replica(revoking: Installation) -> Iterator[Replica]:
    started = Replica(revoking)
    yield started
    started.process.kill()


class Parties:
    """The payroll API with a client of its own, and a bank API that it calls on behalf of its callers."""

    def __init__(self, installation: Installation, make_namespace: MakeNamespace) -> None:
        self.installation = installation
        self.payroll = payroll = Payroll(make_namespace, servedBy=["payroll-service"])
        bank = make_namespace("bank")
        self.audience, self.bank = payroll.audience, f"https://bank-api.{bank}.svc"
        to_bank = access_entry(bank, "bank-api", "bank.pay")
        to_payroll = access_entry(payroll.owner, "payroll-api", "payroll.read")
        self.client = oauth_client(payroll.caller, "leave-worker", to_payroll, to_bank)
        self.service = oauth_client(
            payroll.owner, "payroll-service", to_bank, grantTypes=["client_credentials", EXCHANGE]
        )
        self.to_service = scope_grant(bank, "pays", "bank-api", ["bank.pay"], {"namespace": payroll.owner})
        self.to_client = scope_grant(bank, "paid", "bank-api", ["bank.pay"], {"namespace": payroll.caller})
        api = resource_server(bank, "bank-api", "bank.pay")
        self.granted = [self.payroll.grant, self.to_service, self.to_client]
        installation.apply_and_wait(self.client, self.service, payroll.server, api, *self.granted)
        self.credentials = installation.credentials(self.client)
        self.service_credentials = installation.credentials(self.service)
        until(self._all_is_granted, lambda: installation.logs())

    def _all_is_granted(self) -> bool:
        who = [(self.credentials, self.audience), (self.credentials, self.bank), (self.service_credentials, self.bank)]
        return not any(self.installation.error(*credentials, resource=resource) for credentials, resource in who)

    def token(self) -> str:
        return self.installation.token(*self.credentials, resource=self.audience)

    def exchanged(self, token: str) -> str:
        more = {"subject_token": token, "subject_token_type": "urn:ietf:params:oauth:token-type:access_token"}
        return self.installation.token(*self.service_credentials, grant_type=EXCHANGE, resource=self.bank, **more)

    def active(self, token: str, url: str = "", who: tuple[str, str] | None = None) -> bool:
        answer = post(f"{url or self.installation.issuer_url}/introspect", token, who or self.credentials)
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        assert content["active"] or content == {"active": False}
        return bool(content["active"])

    def revoke(self, token: str, url: str = "") -> None:
        answer = post(f"{url or self.installation.issuer_url}/revoke", token, self.credentials)
        assert answer.status_code == 200, answer.text

    def verifier(self, audience: str = "") -> Verifier:
        feed = RevocationFeed(every=1)
        return Verifier(self.installation.issuer_url, audience or self.audience, revocations=feed)


def post(url: str, token: str, who: tuple[str, str]) -> httpx.Response:
    return httpx.post(url, data={"token": token}, auth=who, timeout=30, trust_env=False)


def refused(verifier: Verifier, token: str) -> bool:
    try:
        verifier.verify_sync(token)
    except TokenRejected as refusal:
        return refusal.reason in (Reason.REVOKED, Reason.UNKNOWN_KEY)
    return False


@pytest.fixture
def parties(revoking: Installation, make_namespace: MakeNamespace) -> Parties:
    return Parties(revoking, make_namespace)


def test_a_token_revoked_at_one_issuer_is_inactive_at_another_and_survives_the_death_of_both(
    revoking: Installation, parties: Parties, replica: Replica
) -> None:
    token, other = parties.token(), parties.token()
    verifier = parties.verifier()
    assert parties.active(token, replica.url)
    assert not refused(verifier, token)
    parties.revoke(token, replica.url)
    assert not parties.active(token, replica.url)
    until(lambda: not parties.active(token))
    until(lambda: refused(verifier, token))
    assert revoking.issuer is not None
    revoking.issuer.kill()
    replica.process.kill()
    revoking.start_issuer()
    revoking.wait_until_ready_and_leader()
    replica.start()
    for url in (revoking.issuer_url, replica.url):
        assert not parties.active(token, url)
        assert parties.active(other, url)
    assert refused(parties.verifier(), token)


@pytest.mark.parametrize("how", ["deleted", "emptied"])
def test_a_deleted_or_emptied_revocation_record_does_not_reactivate_tokens(
    revoking: Installation, parties: Parties, how: str
) -> None:
    token = parties.token()
    parties.revoke(token)
    before = record(revoking)
    if how == "deleted":
        revoking.kube.delete("ConfigMap", revoking.namespace, REVOCATIONS_NAME)
    else:
        revoking.kube.patch("ConfigMap", revoking.namespace, REVOCATIONS_NAME, {"data": {"record.json": "{}"}})
    until(lambda: record(revoking) == before, lambda: revoking.logs())
    assert not parties.active(token)


def record(installation: Installation) -> Any:
    found = installation.kube.get("ConfigMap", installation.namespace, REVOCATIONS_NAME)
    return found and found["data"]


def test_a_withdrawn_grant_ends_the_tokens_with_its_scopes(revoking: Installation, parties: Parties) -> None:
    token, verifier = parties.token(), parties.verifier()
    exchanged, at_bank = parties.exchanged(token), parties.verifier(parties.bank)
    assert not refused(verifier, token)
    assert not refused(at_bank, exchanged)
    wait_for_the_next_second()
    withdraw(revoking, parties.payroll.grant)
    until(lambda: not parties.active(token))
    until(lambda: refused(verifier, token))
    until(lambda: refused(at_bank, exchanged))
    assert not parties.active(exchanged, who=parties.service_credentials)


def test_a_disabled_client_ends_the_tokens_that_it_exchanged(revoking: Installation, parties: Parties) -> None:
    exchanged, at_bank = parties.exchanged(parties.token()), parties.verifier(parties.bank)
    assert parties.active(exchanged, who=parties.service_credentials)
    assert not refused(at_bank, exchanged)
    meta = parties.service["metadata"]
    revoking.kube.patch("OAuthClient", meta["namespace"], meta["name"], {"spec": {"disabled": True}})
    until(lambda: refused(at_bank, exchanged), seconds=10)


def test_keys_revoked_in_an_emergency_stay_refused_by_introspection_and_feed(
    revoking: Installation, parties: Parties
) -> None:
    token, verifier = parties.token(), parties.verifier()
    assert not refused(verifier, token)
    old = set(revoking.jwks())
    wait_for_the_next_second()
    before = {"spec": {"revokedBefore": f"{datetime.now(UTC):%FT%TZ}"}}
    revoking.kube.patch("SigningKey", revoking.namespace, "default", before)
    until(lambda: not parties.active(token), seconds=5)
    feed = httpx.get(f"{revoking.issuer_url}/revocations", trust_env=False).json()
    assert old <= set(feed["kids"])
    until(lambda: refused(verifier, token), seconds=5)
    fresh = parties.token()
    assert parties.active(fresh)
    assert not refused(verifier, fresh)


def withdraw(installation: Installation, grant: Manifest) -> None:
    installation.kube.delete("ScopeGrant", grant["metadata"]["namespace"], grant["metadata"]["name"])


def wait_for_the_next_second() -> None:
    """Because `revokedBefore` has whole seconds."""
    whole = int(time.time())
    assert eventually(lambda: int(time.time()) > whole)
