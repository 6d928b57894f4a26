"""Connects to the API server of a kubeconfig file, or of the Pod that this process runs in."""

import asyncio
import time
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import yaml
from kubernetes.aio import config as kube_config
from kubernetes.aio.client import Configuration

from scopewright.core.failures import Rejected
from scopewright.stores.kubernetes.answers import first_line
from scopewright.stores.kubernetes.api import Api
from scopewright.stores.kubernetes.sockets import KubeClient

SERVICE_ACCOUNT: Final = Path("/var/run/secrets/kubernetes.io/serviceaccount")
"""Where kubelet mounts a Pod's token."""
TOKEN_WAIT_SECONDS: Final = 60.0
"""How long a mounted folder may lack a token."""
_NO_KUBECONFIG: Final = (yaml.YAMLError, ValueError, TypeError, KeyError, AttributeError)
"""Raised by the loader where the file is not a kubeconfig; their texts may quote the file."""


async def connect(kubeconfig: Path | None = None, *, in_cluster: bool = False) -> Api:
    """The API server of a kubeconfig file (default: `KUBECONFIG`, `~/.kube/config`) or of this Pod."""
    configuration = Configuration()
    try:
        if in_cluster:
            await _mounted(SERVICE_ACCOUNT)
            kube_config.load_incluster_config(client_configuration=configuration)
        else:
            file = str(kubeconfig) if kubeconfig else None
            await kube_config.load_kube_config(config_file=file, client_configuration=configuration)
    except (kube_config.ConfigException, OSError, *_NO_KUBECONFIG) as error:
        why = "the file is not a kubeconfig" if isinstance(error, _NO_KUBECONFIG) else first_line(error)
        raise Rejected(
            "NoKubeconfig",
            f"cannot connect to a cluster ({why}): set KUBECONFIG, pass --kubeconfig FILE, or run in a Pod "
            "with a ServiceAccount",
        ) from None
    configuration.connection_pool_maxsize = 64
    configuration.retries = None
    # By default aiohttp reads proxies from the environment and ~/.netrc, in a thread, for each request.
    configuration.client_session_kwargs = {"trust_env": False}
    configuration.proxy = configuration.proxy or _proxy_for(configuration.host)
    return Api(KubeClient(configuration), KubeClient(configuration))


async def _mounted(folder: Path, timeout: float = TOKEN_WAIT_SECONDS) -> None:
    """Wait for a sidecar's token, which appears a moment after its volume."""
    deadline = time.monotonic() + timeout
    while _awaits_token(folder) and time.monotonic() < deadline:  # noqa: ASYNC110 (another process makes it)
        await asyncio.sleep(0.1)


def _awaits_token(folder: Path) -> bool:
    return folder.is_dir() and not (folder / "token").exists()


def _proxy_for(host: str) -> str | None:
    """The proxy that the environment names for the API server: HTTPS_PROXY, unless NO_PROXY excepts it."""
    parts = urlsplit(host)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)
