"""Rotations without a failed request or a refused valid token; the status records them."""

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

import jwt
import pytest

from scopewright.verifier import Verifier

from .installation import Install, Installation
from .kube import Manifest
from .manifests import oauth_client, signing_key
from .payroll import MakeNamespace, Payroll
from .waiting import eventually, until


@pytest.fixture(scope="module")
def quick(install: Install) -> Installation:
    """Its keys sign two seconds and `publishAhead` after their publication."""
    return install("quick", resync="1s", jwksMaxAge="1s", replicaLag="1s")


@contextmanager
def under_load(request: Callable[[], object]) -> Iterator[None]:
    """Send requests meanwhile, one after the other. The first failure is raised at the end, also if the block fails."""
    ending, failures = threading.Event(), list[BaseException]()

    def load() -> None:
        while not ending.is_set() and not failures:
            try:
                request()
            except BaseException as failure:
                failures.append(failure)
            time.sleep(0.01)

    thread = threading.Thread(target=load)
    thread.start()
    try:
        yield
    finally:
        ending.set()
        thread.join()
        if failures:
            raise failures[0]


def test_credentials_rotate_under_load_without_a_refused_request(
    quick: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    quick.apply_and_wait(*payroll.manifests)
    held = [quick.credentials(payroll.client)]
    with under_load(lambda: [quick.token(*credentials) for credentials in held[-2:]]):
        for turn in range(3):  # at most four overlap: a further one would wait for the end of the first
            quick.annotate(payroll.client, rotate=f"turn {turn}")
            held.append(quick.new_credentials(payroll.client, *(secret for _, secret in held)))

    def reported() -> int:
        return [entry["reason"] for entry in quick.status(payroll.client)["history"]].count("CredentialRotated")

    # The status is written after the Secret.
    until(lambda: reported() == 3, reported)


def test_keys_rotate_under_load_and_no_valid_token_is_refused(
    quick: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    quick.apply_and_wait(*payroll.manifests)
    credentials, audience = quick.credentials(payroll.client), payroll.audience
    key = signing_key(quick.namespace, "default", rotation={"every": "21m", "publishAhead": "1s"})
    quick.apply(key)
    first, kids = quick.jwks(), set[str]()
    verifier = Verifier(issuer=quick.issuer_url, audience=audience)

    def request() -> None:
        token = quick.token(*credentials)
        kids.add(jwt.get_unverified_header(token)["kid"])
        verifier.verify_sync(token)

    with under_load(request):
        unpublished = time.monotonic()
        quick.annotate(key, rotate=f"at {unpublished}")  # another value if the test runs again

        def published() -> set[str]:
            nonlocal unpublished
            asked = time.monotonic()
            new = set(quick.jwks()) - set(first)
            if not new:
                unpublished = asked
            return new

        [pending] = until(published)
        until(lambda: pending in kids)
        waited = time.monotonic() - unpublished
    assert waited >= 2, "publishAhead and the JWKS' max-age: a second each. This replica may lag by the third one"
    states = {k["kid"]: k["state"] for k in quick.status(key)["keys"]}
    assert eventually(lambda: _states(quick, key)[pending] == "Active")
    assert set(states) >= {*first, pending}
    assert _states(quick, key)[first[0]] == "Retiring"


def _states(installation: Installation, key: Manifest) -> dict[str, str]:
    return {k["kid"]: k["state"] for k in installation.status(key)["keys"]}


def test_after_an_emergency_revocation_older_keys_are_removed_and_no_request_fails(
    quick: Installation, make_namespace: MakeNamespace
) -> None:
    payroll = Payroll(make_namespace)
    quick.apply_and_wait(*payroll.manifests)
    credentials = quick.credentials(payroll.client)
    old = set(quick.jwks())
    whole = datetime.now(UTC)
    until(lambda: datetime.now(UTC).replace(microsecond=0) > whole)
    key = {"spec": {"revokedBefore": f"{datetime.now(UTC):%FT%TZ}"}}
    with under_load(lambda: quick.token(*credentials)):
        quick.kube.patch("SigningKey", quick.namespace, "default", key)
        until(lambda: old.isdisjoint(quick.jwks()))
    asyncio.run(Verifier(issuer=quick.issuer_url, audience=payroll.audience).verify(quick.token(*credentials)))

    def reported() -> bool:
        history = quick.status(signing_key(quick.namespace))["history"]
        return any(entry["reason"] == "KeysRevoked" and "refuse their tokens" in entry["message"] for entry in history)

    until(reported)


def test_the_last_use_is_reported_in_whole_hours(quick: Installation, make_namespace: MakeNamespace) -> None:
    payroll = Payroll(make_namespace)
    quick.apply_and_wait(*payroll.manifests)
    assert "lastUsedTime" not in quick.status(payroll.client)["credentials"]
    quick.token(*quick.credentials(payroll.client))
    used = until(lambda: quick.status(payroll.client)["credentials"].get("lastUsedTime"))
    last = datetime.fromisoformat(used)
    assert (last.minute, last.second) == (0, 0)
    assert 0 <= (datetime.now(UTC) - last).total_seconds() < 3700


def test_the_next_rotation_waits_for_its_window(quick: Installation, make_namespace: MakeNamespace) -> None:
    window = {"days": ["Sat"], "start": "02:00", "duration": "2h", "timeZone": "Europe/Berlin"}
    client = oauth_client(make_namespace("leave"), "worker", rotation={"every": "24h", "windows": [window]})
    quick.apply_and_wait(client)
    shown = datetime.fromisoformat(quick.status(client)["credentials"]["nextRotationTime"])
    assert (shown - datetime.now(UTC)).total_seconds() > 23 * 3600
    listed = quick.kubectl("get", "oauthclients.scopewright.dev", "-n", client["metadata"]["namespace"])
    assert f"{shown:%FT%TZ}" in listed


def test_a_window_in_an_unknown_time_zone_is_reported(quick: Installation, make_namespace: MakeNamespace) -> None:
    window = {"start": "02:00", "duration": "2h", "timeZone": "Europe/Berln"}
    client = oauth_client(make_namespace("leave"), "worker")
    quick.apply_and_wait(client)
    credentials = quick.credentials(client)
    change = {"spec": {"rotation": {"windows": [window]}}}
    quick.kube.patch("OAuthClient", client["metadata"]["namespace"], "worker", change)
    quick.wait_for(client, "UnknownTimeZone")
    assert quick.accepts(*credentials)


def test_a_restored_secret_is_accepted_again_and_stays(quick: Installation, make_namespace: MakeNamespace) -> None:
    client = oauth_client(make_namespace("leave"), "worker")
    quick.apply_and_wait(client)
    namespace = client["metadata"]["namespace"]
    client_id, first = quick.credentials(client)
    backup = quick.kube.get("Secret", namespace, "worker-oauth")
    assert backup is not None
    quick.kube.delete("Secret", namespace, "worker-oauth")
    _, second = quick.new_credentials(client, first)
    # While paused, the operator does not replace the deleted Secret before it is restored.
    quick.annotate(client, paused="true")
    until(lambda: quick.condition(client, "Paused")["status"] == "True")
    quick.kube.delete("Secret", namespace, "worker-oauth")
    metadata = {k: backup["metadata"][k] for k in ("name", "namespace", "labels", "annotations", "ownerReferences")}
    quick.kube.create({**backup, "metadata": metadata})
    quick.annotate(client, paused=None)
    until(lambda: "CredentialRestored" in [entry["reason"] for entry in quick.status(client)["history"]])
    assert quick.credentials(client) == (client_id, first)
    assert quick.accepts(client_id, first)
    assert quick.accepts(client_id, second), "during the overlap"
