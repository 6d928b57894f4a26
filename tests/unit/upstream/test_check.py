"""The operator's check of a provider, against one on loopback."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc.jwk import RSAKey

from scopewright.upstream import FailureReason, UpstreamFailed
from scopewright.upstream.check import check_provider
from tests.controlplane.certificates import Authority
from tests.harness.openid_provider import OpenIDProvider
from tests.harness.openid_replies import Reply, reply_json, replying

ALGORITHMS = ("RS256", "PS256", "ES256")


@pytest.fixture
def provider() -> Iterator[OpenIDProvider]:
    with OpenIDProvider(path="/realms/hr") as provider:
        yield provider


async def failure(provider: OpenIDProvider, algorithms: tuple[str, ...] = ALGORITHMS) -> UpstreamFailed:
    with pytest.raises(UpstreamFailed) as raised:
        await check_provider(provider.issuer, "", algorithms, allow_loopback=True)
    return raised.value


async def test_provider_that_can_be_used(provider: OpenIDProvider) -> None:
    await check_provider(provider.issuer, "", ALGORITHMS, allow_loopback=True)
    assert (provider.count("metadata"), provider.count("jwks")) == (1, 1)


async def test_provider_with_a_private_authority(tmp_path: Path) -> None:
    authority = Authority.at(tmp_path)
    with OpenIDProvider(certificate=authority.server(), host="localhost") as provider:
        await check_provider(provider.issuer, authority.pem.decode(), ALGORITHMS, allow_loopback=True)
        assert (await failure(provider)).reason == "CertificateInvalid"


async def test_loopback_is_refused_in_a_cluster(provider: OpenIDProvider) -> None:
    with pytest.raises(UpstreamFailed) as raised:
        await check_provider(provider.issuer.replace("http:", "https:"), "", ALGORITHMS, allow_loopback=False)
    assert raised.value.reason == "AddressNotAllowed"
    assert provider.requests == []


async def test_keys_at_an_address_that_is_not_allowed(provider: OpenIDProvider) -> None:
    """Discovery leads to no request that issuerURL itself could not make."""
    provider.metadata = {"jwks_uri": "https://169.254.169.254/latest/meta-data"}
    assert (await failure(provider)).reason == "AddressNotAllowed"


async def test_issuer_of_another_realm(provider: OpenIDProvider) -> None:
    provider.metadata = {"issuer": provider.origin}
    assert (await failure(provider)).reason == "IssuerMismatch"


@pytest.mark.parametrize(
    ("status", "reason"), [(404, "Refused"), (403, "Refused"), (503, "Unreachable"), (302, "Refused")]
)
@pytest.mark.parametrize("endpoint", ["metadata", "jwks"])
async def test_status(provider: OpenIDProvider, endpoint: str, status: int, reason: FailureReason) -> None:
    provider.replies[endpoint] = replying(Reply(status, b"{}", {"Location": "/"}))
    assert (await failure(provider)).reason == reason


@pytest.mark.parametrize(
    "keys",
    [
        {"keys": []},
        {"keys": {}},
        {"keys": [{}] * 101},
        {"keys": [{"kty": "oct", "kid": "a", "k": "c2VjcmV0"}]},
        {},
    ],
)
async def test_keys_that_verify_nothing(provider: OpenIDProvider, keys: object) -> None:
    provider.replies["jwks"] = replying(reply_json(keys))
    assert (await failure(provider)).reason == "AnswerMalformed"


async def test_no_key_for_the_algorithms(provider: OpenIDProvider) -> None:
    other = RSAKey.generate_key(2048, {"kid": "a", "alg": "RS384", "use": "sig"}, private=True)
    provider.replies["jwks"] = replying(reply_json({"keys": [other.as_dict(private=False)]}))
    assert (await failure(provider)).reason == "AlgorithmNotSupported"


async def test_algorithms_that_the_provider_does_not_use(provider: OpenIDProvider) -> None:
    failed = await failure(provider, ("RS256",))
    assert failed.reason == "AlgorithmNotSupported"
    assert "ES256" in failed.message
