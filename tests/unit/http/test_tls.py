"""TLS, and a certificate that is exchanged while connections go on."""

import asyncio
import ssl
from pathlib import Path

import pytest

from scopewright.core.failures import Rejected
from scopewright.http import Certificate, Limits
from tests.controlplane.certificates import Authority
from tests.unit.http.served import GET, Served, Wire, post, serving, until


def install(authority: Authority, folder: Path) -> bytes:
    """A new certificate in place of the one there; it is returned as a client sees it."""
    certificate, key = authority.server()
    for name, content in (("tls.crt", certificate), ("tls.key", key)):
        (folder / "new").write_bytes(content)
        (folder / "new").replace(folder / name)
    return ssl.PEM_cert_to_DER_cert(certificate.decode())


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    (tmp_path / "ca").mkdir()
    return Authority.at(tmp_path / "ca")


def loaded(folder: Path) -> Certificate:
    return Certificate(folder / "tls.crt", folder / "tls.key")


async def connect(served: Served, authority: Authority, **options: object) -> Wire:
    context = ssl.create_default_context(cadata=authority.pem.decode())
    for name, value in options.items():
        setattr(context, name, value)
    return await served.connect(ssl=context)


def shown(wire: Wire) -> bytes:
    certificate: bytes = wire.writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    return certificate


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = install(authority, tmp_path)
    async with serving(Limits(), loaded(tmp_path)) as served:
        old = await connect(served, authority)
        assert shown(old) == first
        second = install(authority, tmp_path)
        new = await connect(served, authority)
        for _ in range(40):
            if shown(new) == second:
                break
            await asyncio.sleep(0.05)
            new = await connect(served, authority)
        assert shown(new) == second
        for wire in (old, new):
            wire.send(GET)
            assert (await wire.reply()).status == 200
        (tmp_path / "tls.key").write_bytes(b"half a ke")
        await until(lambda: "is not read again" in caplog.text)
        assert shown(await connect(served, authority)) == second, "the last good one stays"


async def test_requests_over_tls_are_those_without_and_the_end_is_as_gentle(
    authority: Authority, tmp_path: Path
) -> None:
    install(authority, tmp_path)
    async with serving(Limits(linger=0.3), loaded(tmp_path)) as served:
        wire = await connect(served, authority)
        wire.send(post(b"1") + post(b"x" * 15_000) + post(b"2", b"/slow"))
        assert (await wire.reply()).body == b"1"
        assert len((await wire.reply()).body) == 15_000
        served.stop.set()
        await asyncio.sleep(0.05)
        served.gate.set()
        last = await wire.reply()
        assert (last.body, last.headers["connection"]) == (b"2", "close")
        assert await wire.ended() == b""


async def test_old_versions_of_tls_and_plain_http_are_refused(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(Limits(), loaded(tmp_path)) as served:
        with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLSv1_1"):
            await connect(served, authority, maximum_version=ssl.TLSVersion.TLSv1_1)
        plain = await served.connect()
        plain.send(GET)
        assert not (await plain.ended()).startswith(b"HTTP/1.1 200")


async def test_a_handshake_that_does_not_come_is_not_waited_for(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(Limits(request_timeout=0.2), loaded(tmp_path)) as served:
        assert await (await served.connect()).ended() == b""


def test_files_that_do_not_belong_together_are_refused_with_their_names(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    with pytest.raises(Rejected, match=r"tls\.crt and .*none cannot be used for TLS: No such file"):
        Certificate(tmp_path / "tls.crt", tmp_path / "none")
    (tmp_path / "tls.key").write_bytes(authority.server()[1])
    with pytest.raises(Rejected, match="KEY_VALUES_MISMATCH"):
        loaded(tmp_path)
    (tmp_path / "tls.crt").unlink()
    with pytest.raises(Rejected):
        loaded(tmp_path)
