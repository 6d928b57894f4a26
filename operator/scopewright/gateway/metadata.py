"""Protected resource metadata (RFC 9728) of the APIs, by hostname and path. Public, whatever their rules are."""

from collections.abc import Iterable
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from scopewright.core.http_rules import audience_is_its_url
from scopewright.core.records.resource_server import ResourceServerRecord
from scopewright.gateway.apis import GatewayApi
from scopewright.gateway.hostnames import hostname_of
from scopewright.gateway.refusals import GatewayRefused
from scopewright.http import Answer, Headers, HttpRequest
from scopewright.verifier.resource_metadata import WELL_KNOWN, ResourceMetadata
from scopewright.verifier.verifier import Verifier

_PREFIX: Final = WELL_KNOWN.encode()


def api_metadata(record: ResourceServerRecord, issuer: str, verifier: Verifier) -> ResourceMetadata | None:
    """The metadata of an API whose audience is a URL with one of its hostnames; None for every other one."""
    if record.http is None or not audience_is_its_url(record.http, record.audience):
        return None
    return ResourceMetadata.of(
        record.audience,
        issuer,
        scopes=record.scopes,
        dpop_bound_access_tokens_required=verifier.dpop_required,
        dpop_signing_alg_values_supported=verifier.dpop_algorithms,
    )


class MetadataDocuments:
    """The documents of all APIs. Replaced as a whole when a record changes."""

    def __init__(self, apis: Iterable[GatewayApi] = ()) -> None:
        self._answers: dict[tuple[str, bytes], Answer] = {}
        for metadata in (api.metadata for api in apis):
            if metadata is not None:
                path = metadata.path.encode("ascii")
                answer = Answer(HTTPStatus.OK, _headers_of(metadata), metadata.document())
                self._answers[urlsplit(metadata.resource).hostname or "", path.removesuffix(b"/")] = answer

    def answer(self, http: HttpRequest) -> Answer | None:
        """The document for the Host and the path of the request; None if there is none."""
        path = http.target.partition(b"?")[0]
        if not path.startswith(_PREFIX):
            return None
        try:
            host = hostname_of(http.headers.get(b"host", b""))
        except GatewayRefused:
            return None
        answer = self._answers.get((host, path.removesuffix(b"/")))
        if answer is not None and http.method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, ((b"allow", b"GET, HEAD"),), b"")
        return answer


def _headers_of(metadata: ResourceMetadata) -> Headers:
    """The server adds the length."""
    headers = ((name.lower().encode("ascii"), value.encode("ascii")) for name, value in metadata.headers())
    return tuple(header for header in headers if header[0] != b"content-length")
