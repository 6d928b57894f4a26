"""TLS of a connection, and its certificate and key from two files, read again when they change.

OpenSSL reads and writes memory here, not the socket. So a connection is counted from `accept` on, costs what the
handshake costs only once its first byte has come, and shares one buffer with the others (asyncio's own TLS reserves
256 KiB for each).
"""

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path
from typing import TYPE_CHECKING, Final

from scopewright.core.failures import Rejected
from scopewright.http.budget import network_of
from scopewright.http.connection import Connection
from scopewright.http.limits import HANDSHAKE_COST, SESSION_COST

if TYPE_CHECKING:
    from scopewright.http.server import HttpServer

log: Final = logging.getLogger(__name__)

Version = tuple[tuple[int, int, int], ...]

_AT_ONCE: Final = 16 * 1024
"""Bytes that are decrypted or encrypted at once: a record of TLS has no more (RFC 8446 §5.1)."""

CIPHERS: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384",
    "ECDHE-RSA-AES256-GCM-SHA384",
    "ECDHE-ECDSA-AES128-GCM-SHA256",
    "ECDHE-RSA-AES128-GCM-SHA256",
    "ECDHE-ECDSA-CHACHA20-POLY1305",
    "ECDHE-RSA-CHACHA20-POLY1305",
)
"""Of TLS 1.2: forward secrecy and authenticated encryption (RFC 9325 §4.2). Those of TLS 1.3 all have both."""


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
        context.set_ciphers(":".join(CIPHERS))
        context.options |= ssl.OP_NO_COMPRESSION | ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(*self._files)
        return context


class TlsConnection(asyncio.BufferedProtocol):
    """Between a socket and a Connection: a protocol for the one, a transport for the other."""

    def __init__(self, server: "HttpServer", context: ssl.SSLContext) -> None:
        self._server = server
        self._context = context
        self._connection: Connection | None = Connection(server)
        self._raw: asyncio.Transport
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject | None = None
        """From the first byte on."""
        self._largest = 0
        """Bytes that were the most to be read or written at once: OpenSSL keeps room for as many."""
        self._address = ""
        self._established = False
        self._reading = True
        self._ended = False
        """Nothing more is encrypted, and what still comes is thrown away."""

    # What the event loop calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = transport  # type: ignore[assignment]
        peer = transport.get_extra_info("peername")
        self._address = network_of(peer[0]) if isinstance(peer, tuple) else ""
        if self._connection is not None:
            self._connection.accepted(transport, self, encrypted=True)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._server.buffer[:_AT_ONCE]

    def buffer_updated(self, nbytes: int) -> None:
        connection = self._connection
        if self._ended or connection is None:
            return
        self._incoming.write(self._server.buffer[:nbytes])
        self._grow(nbytes)
        if self._established:
            self._step()
        else:
            # What comes in the meantime waits in the kernel.
            self._raw.pause_reading()
            self._server.handshakes.ask(self._address, self)

    def turn(self) -> None:
        """The next step of the handshake."""
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

    # What the connection calls

    def write(self, data: bytes) -> None:
        if self._tls is None or not self._established or self._ended:
            return
        if len(data) <= _AT_ONCE:
            self._encrypt(data)
            return
        whole = memoryview(data)
        for start in range(0, len(data), _AT_ONCE):
            self._encrypt(whole[start : start + _AT_ONCE])

    def write_eof(self) -> None:
        """Send close_notify; what the client still sends is read."""
        if self._tls is not None and self._established and not self._ended:
            with contextlib.suppress(ssl.SSLError):  # the client's own close_notify is not waited for
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
        """What has come already is read first, and not in the very call that asks for it."""
        self._reading = True
        asyncio.get_running_loop().call_soon(self._resume)

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        """With what has come and has not been decrypted."""
        return self._raw.get_write_buffer_size() + self._incoming.pending

    # TLS

    def _step(self) -> None:
        """Read as far as that goes now; what cannot be read ends the connection with an alert (RFC 8446 §6.2)."""
        try:
            if self._established or self._shake_hands():
                self._read()
        except ssl.SSLWantReadError:
            self._flush()
        except ssl.SSLError as error:
            log.debug("the TLS of a client cannot be read: %s", _why(error))
            self._server.count("refused", "tls")
            self._flush()
            self._ended = True
            self._raw.close()

    def _shake_hands(self) -> bool:
        """Whether that is done."""
        if self._tls is None or self._connection is None:
            return False
        self._tls.do_handshake()
        self._established = True
        self._flush()
        self._connection.encrypting(SESSION_COST + 2 * self._largest, established=True)
        return True

    def _read(self) -> None:
        """Until there is no more, or the connection wants no more for now."""
        # What came into the buffer is in OpenSSL's memory by now, so it is free for what is decrypted.
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

    def _encrypt(self, data: bytes | memoryview) -> None:
        if self._tls is not None:
            self._tls.write(data)
            self._grow(len(data))
            self._flush()

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
