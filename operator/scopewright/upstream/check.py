"""Whether a provider can be used, for the status of its IdentityProvider."""

from collections.abc import Collection

from scopewright.upstream import UpstreamFailed
from scopewright.upstream.discovery import fetch_keys, fetch_metadata
from scopewright.upstream.http import UpstreamHttp


async def check_provider(
    issuer_url: str, ca_certificates: str, algorithms: Collection[str], *, allow_loopback: bool
) -> None:
    """Fetch the metadata and the keys of a provider. Raises `UpstreamFailed` if users cannot log in there.

    `ca_certificates` is PEM; empty: the authorities of the system. `algorithms` are JOSE names.
    """
    async with UpstreamHttp(ca_certificates, allow_loopback=allow_loopback) as http:
        metadata = await fetch_metadata(http, issuer_url, algorithms, allow_loopback=allow_loopback)
        keys = await fetch_keys(http, metadata)
    if keys.algorithms.isdisjoint(metadata.signing_algorithms):
        message = (
            f"{metadata.jwks_uri} has no key for {', '.join(metadata.signing_algorithms)}; check signingAlgorithms"
        )
        raise UpstreamFailed("AlgorithmNotSupported", message)
