"""What the commands read and write: an API server, or the STATE directory of `dev`."""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from scopewright.stores import Store

if TYPE_CHECKING:
    from scopewright.stores.kubernetes.api import Api


def import_store(source: str) -> None:
    """Import what `opened_store` needs. Before the workers fork, so that it is in memory once."""
    if source == "kubernetes":
        from scopewright.stores.kubernetes import connect, store  # noqa: F401


@asynccontextmanager
async def connected_api(kubeconfig: Path | None) -> "AsyncIterator[Api]":
    """The API server of `--kubeconfig`, of KUBECONFIG, of the Pod, or of ~/.kube/config: the first that is given."""
    from scopewright.stores.kubernetes.connect import connect

    named = kubeconfig or os.environ.get("KUBECONFIG")
    api = await connect(kubeconfig, in_cluster=not named and "KUBERNETES_SERVICE_HOST" in os.environ)
    try:
        yield api
    finally:
        await api.close()


@asynccontextmanager
async def opened_store(source: str, kubeconfig: Path | None) -> AsyncIterator[Store]:
    """The store of `--source`: `kubernetes`, or a STATE directory."""
    if source == "kubernetes":
        from scopewright.stores.kubernetes.store import KubernetesStore

        async with connected_api(kubeconfig) as api, api.supervised():
            yield KubernetesStore(api)
    else:
        from scopewright.stores.directory.store import DirectoryStore

        yield DirectoryStore.open_readonly(Path(source))
