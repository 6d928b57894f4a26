"""The interface of all clusters for tests."""

import abc
from pathlib import Path
from types import TracebackType
from typing import Self

from .errors import ControlPlaneError


class Cluster(abc.ABC):
    """A context manager, which starts or finds the cluster and stops what it started."""

    kubeconfig: Path
    """The kubeconfig of a cluster administrator."""
    kubectl: Path
    restartable = False
    """Whether stop_apiserver, start_apiserver and restart_controllers work here."""

    @abc.abstractmethod
    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    @abc.abstractmethod
    def kubeconfig_for(self, user: str, *groups: str) -> Path:
        """A kubeconfig of a user with the rights that RBAC grants to these names."""

    def stop_apiserver(self) -> None:
        raise self._not_restartable()

    def start_apiserver(self) -> None:
        raise self._not_restartable()

    def restart_controllers(self) -> None:
        raise self._not_restartable()

    def _not_restartable(self) -> ControlPlaneError:
        return ControlPlaneError(
            "KUBECONFIG names this cluster, which the tests must not stop. Unset KUBECONFIG to run this."
        )
