"""The metadata and the keys of a provider (OpenID Connect Discovery 1.0 §3 and §4)."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal

from scopewright.upstream import UpstreamFailed
from scopewright.upstream.http import UpstreamHttp, check_url
from scopewright.upstream.provider_keys import ProviderKeys

SecretMethod = Literal["client_secret_basic", "client_secret_post"]

_MAX_ITEMS: Final = 200
_MAX_SHOWN: Final = 200
_SECRET_METHODS: Final[tuple[SecretMethod, ...]] = ("client_secret_basic", "client_secret_post")
_SUFFIX: Final = "/.well-known/openid-configuration"


@dataclass(frozen=True, slots=True)
class ProviderMetadata:
    """Endpoints are https URLs, or of loopback where that is allowed; empty: the provider has none."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    signing_algorithms: tuple[str, ...]
    """Of ID tokens: those that the settings accept and the provider uses. At least one."""
    secret_method: SecretMethod | None
    """How a client with a secret authenticates at the token endpoint; None: the provider accepts neither."""
    userinfo_endpoint: str = ""
    sends_iss: bool = False
    """Whether every authorization response has `iss` (RFC 9207 §3)."""
    prompts: tuple[str, ...] = ()
    """Values of `prompt` that it accepts; empty: it does not list them, and must accept `login` (Core §15.1)."""


def metadata_url(issuer_url: str) -> str:
    """Return the URL of the metadata (§4): a slash at the end of the issuer is removed first."""
    return issuer_url.removesuffix("/") + _SUFFIX


async def fetch_metadata(
    http: UpstreamHttp, issuer_url: str, algorithms: Collection[str], *, allow_loopback: bool
) -> ProviderMetadata:
    """Raises `UpstreamFailed`."""
    check_url(issuer_url, "issuerURL", allow_loopback=allow_loopback)
    answer = await http.get(metadata_url(issuer_url))
    return parse_metadata(answer.require_ok().json(), issuer_url, algorithms, allow_loopback=allow_loopback)


async def fetch_keys(
    http: UpstreamHttp, metadata: ProviderMetadata, previous: ProviderKeys | None = None
) -> ProviderKeys:
    """Return the keys that verify ID tokens. Raises `UpstreamFailed`, also if there is none.

    Unchanged keys are the objects of `previous`.
    """
    answer = await http.get(metadata.jwks_uri)
    try:
        keys = ProviderKeys.parse(answer.require_ok().json(), previous)
    except ValueError as error:
        raise UpstreamFailed("AnswerMalformed", f"{answer.url}: {error}") from None
    if not len(keys):
        message = f"{answer.url} has no usable key: public, for signatures, RSA of 2048 to 8192 bits or EC"
        raise UpstreamFailed("AnswerMalformed", message)
    return keys


def parse_metadata(
    document: Mapping[str, Any], issuer_url: str, algorithms: Collection[str], *, allow_loopback: bool
) -> ProviderMetadata:
    """Raises `UpstreamFailed` if the provider cannot be used with these settings."""
    if document.get("issuer") != issuer_url:  # byte for byte (§4.3)
        shown = ascii(document.get("issuer"))[:_MAX_SHOWN]
        message = f"the metadata is of the issuer {shown}; issuerURL must be the same, byte for byte: {issuer_url!r}"
        raise UpstreamFailed("IssuerMismatch", message)

    def endpoint(name: str) -> str:
        return check_url(document.get(name), name, allow_loopback=allow_loopback)

    if "code" not in _strings(document, "response_types_supported"):
        raise UpstreamFailed("AlgorithmNotSupported", "the provider does not support the response type code")
    challenge_methods = _strings(document, "code_challenge_methods_supported", ("S256",))
    if "S256" not in challenge_methods:
        raise UpstreamFailed("AlgorithmNotSupported", "the provider does not support PKCE with S256 (RFC 7636)")
    offered = _strings(document, "id_token_signing_alg_values_supported")
    common = tuple(name for name in algorithms if name in offered)
    if not common:
        shown = ascii(list(offered))[:_MAX_SHOWN]
        message = (
            f"the provider signs ID tokens with {shown}; add one of these to signingAlgorithms, never HS256 or none"
        )
        raise UpstreamFailed("AlgorithmNotSupported", message)
    methods = _strings(document, "token_endpoint_auth_methods_supported", ("client_secret_basic",))
    secret_method = next((method for method in _SECRET_METHODS if method in methods), None)
    if secret_method is None and "none" not in methods:
        message = "the provider accepts neither client_secret_basic nor client_secret_post, nor public clients"
        raise UpstreamFailed("AlgorithmNotSupported", message)
    return ProviderMetadata(
        issuer=issuer_url,
        authorization_endpoint=endpoint("authorization_endpoint"),
        token_endpoint=endpoint("token_endpoint"),
        jwks_uri=endpoint("jwks_uri"),
        signing_algorithms=common,
        secret_method=secret_method,
        userinfo_endpoint=endpoint("userinfo_endpoint") if document.get("userinfo_endpoint") is not None else "",
        sends_iss=document.get("authorization_response_iss_parameter_supported") is True,
        prompts=_strings(document, "prompt_values_supported"),
    )


def _strings(document: Mapping[str, Any], name: str, default: tuple[str, ...] = ()) -> tuple[str, ...]:
    value = document.get(name)
    if value is None:
        return default
    if not isinstance(value, list) or len(value) > _MAX_ITEMS or not all(isinstance(item, str) for item in value):
        raise UpstreamFailed(
            "AnswerMalformed", f"{name} in the metadata must be a list of at most {_MAX_ITEMS} strings"
        )
    return tuple(value)
