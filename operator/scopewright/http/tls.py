"""TLS of a connection; certificate and key from two files, reloaded when they change.

OpenSSL reads and writes memory BIOs here, not the socket. So a connection is counted from `accept` on, pays for the
handshake only from its first byte on, and shares one buffer with the others (asyncio's TLS reserves 256 KiB for each).
"""

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import Final

from scopewright.core.failures import Rejected
from scopewright.http.budget import network_of
from scopewright.http.connection import Connection
from scopewright.http.host import ConnectionHost
from scopewright.http.limits import HANDSHAKE_COST, SESSION_COST

log: Final = logging.getLogger(__name__)

Version = tuple[tuple[int, int, int], ...]

_MAX_RECORD: Final = 16 * 1024
"""Bytes that are decrypted or encrypted at once: the maximum of a TLS record (RFC 8446 §5.1)."""

CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
)
"""TLS 1.2: the suites that RFC 9325 §4.2 recommends; FAPI 2.0 §5.2.2 allows no others. All of TLS 1.3 are allowed."""


class Certificate:
    """`context` stays the same for the life of the server. Each handshake uses the current certificate."""

    def __init__(self, cert: Path, key: Path) -> None:
        """Raises `Rejected` if the two files are not a usable pair."""
        self._files = (cert, key)
        try:
            self._version = self._on_disk()
            self._current = self._loaded()
        except (OSError, ssl.SSLError) as error:
            raise Rejected("BadCertificate", f"{cert} and {key} cannot be used for TLS: {_why(error)}") from None
        self.context = self._current
        self.context.sni_callback = self._choose

    def refresh(self) -> None:
        """Reload the files if they have changed. If they are not usable, log that and keep the last certificate."""
        try:
            version = self._on_disk()
            if version == self._version:
                return
            self._version = version
            self._current = self._loaded()
        except (OSError, ssl.SSLError) as error:
            log.warning("cannot reload certificate %s, keeping the last one: %s", self._files[0], _why(error))
        else:
            log.info("reloaded certificate %s", self._files[0])

    def _choose(self, handshake: ssl.SSLObject | ssl.SSLSocket, name: str | None, context: ssl.SSLContext) -> None:
        handshake.context = self._current

    def _on_disk(self) -> Version:
        stats = [file.stat() for file in self._files]
        return tuple((stat.st_mtime_ns, stat.st_ino, stat.st_size) for stat in stats)

    def _loaded(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(":".join(CIPHERS))
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files)
        return context


class TlsConnection(asyncio.BufferedProtocol):
    """Between a socket and a Connection: the protocol of the one, the transport of the other."""

    def __init__(self, server: ConnectionHost, context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context
        self._connection: Connection | None = Connection(server)
        self._raw: asyncio.Transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        """Created with the first byte."""
        self._largest = 0
        """Maximum of bytes that were read or written at once: OpenSSL keeps buffers of that size."""
        self._address = ""
        self._established = False
        self._reading = True
        self._ended = False
        """Nothing more is encrypted, and further bytes are discarded."""

    # Called by the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._address = network_of(peer[0]) if isinstance(peer, tuple) else ""
        if self._connection is not None:
            self._connection.accepted(transport, self, encrypted=True)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.buffer[:_MAX_RECORD]

    def buffer_updated(self, nbytes: int) -> None:
        connection = self._connection
        if self._ended or connection is None:
            return
        self._incoming.write(self._server.buffer[:nbytes])
        self._grow(nbytes)
        if self._established:
            self._step()
        else:
            # Meanwhile, further bytes wait in the kernel.
            self._raw.pause_reading()
            self._server.handshakes.ask(self._address, self)

    def turn(self) -> None:
        """Do the next step of the handshake."""
        if self._connection is None or self._raw.is_closing():
            return
        if self._tls is None:
            self._tls = self._context.wrap_bio(self._incoming, self._outgoing, server_side=True)
            self._connection.encrypting(HANDSHAKE_COST)
        self._step()
        if self._reading and not self._raw.is_closing():
            self._raw.resume_reading()

    def eof_received(self) -> bool:
        if self._connection is not None:
            self._connection.eof_received()
        return False

    def pause_writing(self) -> None:
        if self._connection is not None:
            self._connection.pause_writing()

    def resume_writing(self) -> None:
        if self._connection is not None:
            self._connection.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.handshakes.leave(self._address, self)
        self._ended, self._tls = True, None
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.connection_lost(exc)

    # Called by the connection

    def write(self, data: bytes) -> None:
        tls = self._tls
        if tls is None or not self._established or self._ended:
            return
        whole = memoryview(data)
        for start in range(0, len(data), _MAX_RECORD):
            size = tls.write(whole[start : start + _MAX_RECORD])
            self._grow(size)
            self._flush()

    def write_eof(self) -> None:
        """Send close_notify. Bytes of the client are still read."""
        if self._tls is not None and self._established and not self._ended:
            with contextlib.suppress(ssl.SSLError):  # do not wait for the client's close_notify
                self._tls.unwrap()
            self._flush()
        self._ended = True

    def close(self) -> None:
        self.write_eof()
        self._raw.close()

    def abort(self) -> None:
        self._raw.abort()

    def is_closing(self) -> bool:
        return self._raw.is_closing()

    def pause_reading(self) -> None:
        self._reading = False
        self._raw.pause_reading()

    def resume_reading(self) -> None:
        """Bytes that were received already are read first, in a later round of the event loop."""
        self._reading = True
        asyncio.get_running_loop().call_soon(self._resume)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """Including received bytes that are not decrypted yet."""
        return self._raw.get_write_buffer_size() + self._incoming.pending

    # TLS

    def _step(self) -> None:
        """Decrypt what was received. On an error, send an alert and close the connection (RFC 8446 §6.2)."""
        try:
            if self._established or self._shake_hands():
                self._read()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            log.debug("TLS error of a client: %s", _why(error))
            self._server.count("refused", "tls")
            self._flush()
            self._ended = True
            self._raw.close()

    def _shake_hands(self) -> bool:
        """Whether the handshake is complete."""
        if self._tls is None or self._connection is None:
            return False
        self._tls.do_handshake()
        self._established = True
        self._flush()
        self._connection.encrypting(SESSION_COST + 2 * self._largest, established=True)
        return True

    def _read(self) -> None:
        """Read until there is no more, or the connection pauses reading."""
        # The received bytes are in OpenSSL's memory, so the buffer is free for the decrypted ones.
        plain = self._server.buffer
        while self._reading and not self._ended and self._tls is not None and self._connection is not None:
            count: int = self._tls.read(len(plain), plain)  # type: ignore[assignment]
            if not count:
                self._connection.eof_received()
                self.close()
                return
            self._connection.buffer_updated(count)

    def _resume(self) -> None:
        if self._reading and not self._ended and not self._raw.is_closing():
            self._step()
        if self._reading and not self._raw.is_closing():
            self._raw.resume_reading()

    def _grow(self, size: int) -> None:
        if size > self._largest:
            self._largest = size
            if self._established and self._connection is not None:
                self._connection.encrypting(SESSION_COST + 2 * size)

    def _flush(self) -> None:
        if self._outgoing.pending and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())


def _why(error: Exception) -> str:
    return getattr(error, "reason", None) or getattr(error, "strerror", None) or type(error).__name__
