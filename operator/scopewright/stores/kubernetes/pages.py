"""Lists a collection of the API server in chunks."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Final

from scopewright.core.failures import Unavailable
from scopewright.stores.kubernetes.answers import Gone, NotFound
from scopewright.stores.kubernetes.api import Api

CHUNK: Final = 200
"""Objects of a page. Once parsed they take a few MB, for each of the lists that are read at the same time."""


class NotServed(Unavailable):
    """The API server does not serve the kind: its CRD may be missing, or not served yet."""


async def chunks(api: Api, path: str, **query: str) -> AsyncIterator[tuple[Sequence[dict[str, Any]], str]]:
    """Each chunk, and the resourceVersion of the list; an empty list has one chunk. Raises as `Api.get` does."""
    token = ""
    while True:
        page = await api.get(path, **query, limit=str(CHUNK), **({"continue": token} if token else {}))
        yield page.get("items") or (), page["metadata"]["resourceVersion"]
        token = page["metadata"].get("continue") or ""
        if not token:
            return


async def pages(api: Api, path: str, **query: str) -> AsyncIterator[tuple[Sequence[Mapping[str, Any]], str]]:
    """The same; a failure is `Rejected` or `Unavailable`."""
    try:
        async for page in chunks(api, path, **query):
            yield page
    except NotFound:
        raise NotServed(f"{path} is not served: are the CRDs installed?") from None
    except Gone:
        raise Unavailable(f"the list of {path} took too long") from None
