"""A certificate and its key from two files, read again when they change."""

import logging
import ssl
from pathlib import Path
from typing import Final

from scopewright.core.failures import Rejected

log: Final = logging.getLogger(__name__)

Version = tuple[tuple[int, int, int], ...]


class Certificate:
    """`context` is one for the life of the server: each handshake is given the certificate that is in force then."""

    def __init__(self, cert: Path, key: Path) -> None:
        """`Rejected` where the two cannot be used together."""
        self._files = (cert, key)
        try:
            self._version = self._on_disk()
            self._current = self._loaded()
        except (OSError, ssl.SSLError) as error:
            raise Rejected("BadCertificate", f"{cert} and {key} cannot be used for TLS: {_why(error)}") from None
        self.context = self._current
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Look whether the files have changed. One that cannot be used is told, and the last good one kept."""
        try:
            version = self._on_disk()
            if version == self._version:
                return
            self._version = version
            self._current = self._loaded()
        except (OSError, ssl.SSLError) as error:
            log.warning("the certificate %s is not read again: %s", self._files[0], _why(error))
        else:
            log.info("the certificate %s was read again", self._files[0])

    def _choose(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._current

    def _on_disk(self) -> Version:
        stats = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files)
        return context


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
