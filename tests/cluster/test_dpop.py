"""A ResourceServer that requires DPoP, and the key of the DPoP nonces."""

from pathlib import Path

import httpx

from scopewright.client import AccessToken, ClientCredentials

from .installation import Installation
from .payroll import MakeNamespace, Payroll
from .waiting import until


def bound_token(installation: Installation, payroll: Payroll, folder: Path) -> AccessToken:
    """By a new client, which sends its first request without a nonce."""
    folder.mkdir()
    meta = payroll.client["metadata"]
    for entry, value in installation.secret(meta["namespace"], f"{meta['name']}-oauth").items():
        (folder / entry).write_text(value)
    with httpx.Client(trust_env=False) as direct:
        return ClientCredentials(folder, dpop=True, http=direct).token_sync()


def test_a_resource_server_that_requires_dpop_gets_bound_tokens_only(
    installation: Installation, make_namespace: MakeNamespace, tmp_path: Path
) -> None:
    payroll = Payroll(make_namespace, tokens={"dpopBoundAccessTokensRequired": True})
    installation.apply_and_wait(*payroll.manifests)
    assert installation.error(*installation.credentials(payroll.client)) == "invalid_request"
    assert bound_token(installation, payroll, tmp_path / "oauth").scopes == {"payroll.read"}


def test_the_nonce_key_is_kept_and_recreated_after_its_deletion(
    installation: Installation, make_namespace: MakeNamespace, tmp_path: Path
) -> None:
    payroll = Payroll(make_namespace)
    installation.apply_and_wait(*payroll.manifests)
    before = installation.kube.get("Secret", installation.namespace, "scopewright-nonce")
    assert before is not None
    installation.wait_two_resyncs()
    assert installation.kube.get("Secret", installation.namespace, "scopewright-nonce") == before
    installation.kube.delete("Secret", installation.namespace, "scopewright-nonce")
    assert bound_token(installation, payroll, tmp_path / "meanwhile"), "the issuer uses the former key meanwhile"
    after = until(lambda: installation.kube.get("Secret", installation.namespace, "scopewright-nonce"))
    assert after["data"] != before["data"]
    assert bound_token(installation, payroll, tmp_path / "after")
