"""Follow one selection of Secrets, ConfigMaps or ServiceAccounts: list, then watch, without end."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, Final

from scopewright.backoff import with_jitter
from scopewright.core.failures import Rejected, Unavailable
from scopewright.core.objects import Ref
from scopewright.stores import Change, ListCompleted, Selection
from scopewright.stores.kubernetes.answers import Gone, NotFound
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.objects import collection, parse
from scopewright.stores.kubernetes.pages import chunks

FIRST_PAUSE: Final = 0.2
LONGEST_PAUSE: Final = 5.0

log = logging.getLogger(__name__)


async def follow(
    api: Api, selection: Selection, on_activity: Callable[[], None] = lambda: None
) -> AsyncIterator[Change | ListCompleted]:
    """See `stores.Reader.follow`. A failed list changes nothing and is retried with back-off.

    `on_activity` is called for every object, event and bookmark: at least about once a minute.
    """
    path = collection(selection.kind, selection.namespace)
    selector = _selector(selection)
    pause = FIRST_PAUSE
    version = ""
    while True:
        try:
            if not version:
                refs: set[Ref] = set()
                listed = ""
                async for items, listed in chunks(api, path, **selector):  # noqa: B007 (the last value is used)
                    on_activity()
                    for raw in items:
                        on_activity()
                        change = _change(selection, raw)
                        refs.add(change.existing.ref)
                        yield change
                yield ListCompleted(frozenset(refs), listed)
                version = listed  # only now: an interrupted list is restarted
            started = asyncio.get_running_loop().time()
            async for event in api.watch(path, {**selector, "resourceVersion": version}):
                pause = FIRST_PAUSE
                on_activity()
                version = event["object"]["metadata"]["resourceVersion"]
                if event["type"] != "BOOKMARK":
                    yield _change(selection, event["object"], deleted=event["type"] == "DELETED")
            if asyncio.get_running_loop().time() - started < FIRST_PAUSE:
                await asyncio.sleep(FIRST_PAUSE)
        except Gone:
            version = ""
            await asyncio.sleep(FIRST_PAUSE)
        except (Unavailable, Rejected, NotFound) as error:
            log.warning("following %s pauses for %.1f s: %s", path, pause, error)
            await api.contact.pause(with_jitter(pause))
            pause = min(pause * 2, LONGEST_PAUSE)


def _change(selection: Selection, raw: dict[str, Any], *, deleted: bool = False) -> Change:
    existing, entries = parse(selection.kind, raw)
    return Change(existing, {} if deleted else entries, deleted)


def _selector(selection: Selection) -> dict[str, str]:
    labels = ",".join(f"{key}={value}" for key, value in (selection.labels or {}).items())
    return {"labelSelector": labels} if labels else {}
