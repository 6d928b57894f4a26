"""TLS, and a certificate that is replaced while connections are open."""

import asyncio
import ssl
from pathlib import Path

import pytest

from scopewright.core.failures import Rejected
from scopewright.http import Certificate, HttpLimits
from scopewright.http.limits import CONNECTION_COST, HANDSHAKE_COST
from tests.controlplane.certificates import Authority
from tests.harness.waiting import until
from tests.unit.http.served import GET, Served, Wire, post, serving


def install(authority: Authority, folder: Path) -> bytes:
    """Replace the certificate. Returns it in DER, as a client sees it."""
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


async def test_new_certificate_is_used_for_new_connections_and_old_ones_are_kept(
    authority: Authority, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    first = install(authority, tmp_path)
    async with serving(HttpLimits(), loaded(tmp_path)) as served:
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
        await until(lambda: "cannot reload certificate" in caplog.text)
        assert shown(await connect(served, authority)) == second, "the last valid one is kept"


async def test_requests_and_stop_work_over_tls(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(linger=0.3), loaded(tmp_path)) as served:
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


async def test_large_responses_over_tls_reach_a_slow_client(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(), loaded(tmp_path)) as served:
        wire = await connect(served, authority)
        wire.send(GET.replace(b"/a", b"/large") * 20 + post(b"x" * 15_000) * 10 + GET)
        for _ in range(20):
            assert len((await wire.reply()).body) == 1_000_000
        for _ in range(10):
            assert (await wire.reply()).body == b"x" * 15_000
        assert (await wire.reply()).headers["x-path"] == "/a"


async def test_requests_over_tls_wait_behind_a_slow_response(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(pipelined=10), loaded(tmp_path)) as served:
        wire = await connect(served, authority)
        wire.send(post(b"1", b"/slow"))
        await until(lambda: served.seen)
        for n in range(40):
            wire.send(post(b"%d" % n + b"x" * 9_000))
            await asyncio.sleep(0)
        await asyncio.sleep(0.2)
        assert len(served.seen) == 1
        assert served.server.usage().used < 300_000, "bytes that were not read are in the kernel"
        served.gate.set()
        assert (await wire.reply()).body == b"1"
        for n in range(40):
            assert (await wire.reply()).body.startswith(b"%dx" % n)


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_each_tls_version_is_served_and_the_client_may_close(
    authority: Authority, tmp_path: Path, version: ssl.TLSVersion
) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(), loaded(tmp_path)) as served:
        wire = await connect(served, authority, maximum_version=version)
        wire.send(GET)
        assert (await wire.reply()).status == 200
        assert wire.writer.get_extra_info("ssl_object").version() == version.name.replace("_", ".")
        wire.writer.close()
        await until(lambda: not served.server.usage().connections.total())


async def test_malformed_tls_record_closes_the_connection_with_an_alert(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(), loaded(tmp_path)) as served:
        plain = await served.connect()
        plain.send(b"\x16\x03\x01\x00\x05hello")
        assert (await plain.ended())[:1] == b"\x15"
        await until(lambda: not served.server.usage().connections.total())


async def test_refusal_over_tls_reaches_the_client_before_the_close(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(linger=0.3), loaded(tmp_path)) as served:
        wire = await connect(served, authority)
        wire.send(b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 9999999\r\n\r\n" + b"x" * 300_000)
        assert (await wire.reply()).status == 413
        assert await wire.ended() == b""


async def test_handshake_is_charged_from_the_connection_on(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(connections=6, connections_per_peer=3), loaded(tmp_path)) as served:
        silent = [await served.connect(local_addr=("127.0.0.2", 0)) for _ in range(5)]
        for wire in silent[:2]:
            assert await wire.ended() == b""
        assert served.server.usage().connections == {"handshake": 3}
        assert served.server.usage().used == 3 * CONNECTION_COST
        silent[-1].send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        await until(lambda: served.server.usage().used >= 3 * CONNECTION_COST + HANDSHAKE_COST)
        wire = await connect(served, authority)
        wire.send(GET)
        assert (await wire.reply()).status == 200
        assert served.server.usage().connections == {"handshake": 3, "idle": 1}


async def test_old_tls_versions_and_plain_http_are_refused(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(), loaded(tmp_path)) as served:
        with pytest.raises(ssl.SSLError), pytest.warns(DeprecationWarning, match="TLSv1_1"):
            await connect(served, authority, maximum_version=ssl.TLSVersion.TLSv1_1)
        plain = await served.connect()
        plain.send(GET)
        assert not (await plain.ended()).startswith(b"HTTP/1.1 200")


async def test_missing_handshake_times_out(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    async with serving(HttpLimits(request_timeout=0.2), loaded(tmp_path)) as served:
        assert await (await served.connect()).ended() == b""


def test_mismatched_certificate_and_key_are_refused_with_their_file_names(authority: Authority, tmp_path: Path) -> None:
    install(authority, tmp_path)
    with pytest.raises(Rejected, match=r"tls\.crt and .*none cannot be used for TLS: No such file"):
        Certificate(tmp_path / "tls.crt", tmp_path / "none")
    (tmp_path / "tls.key").write_bytes(authority.server()[1])
    with pytest.raises(Rejected, match="KEY_VALUES_MISMATCH"):
        loaded(tmp_path)
    (tmp_path / "tls.crt").unlink()
    with pytest.raises(Rejected):
        loaded(tmp_path)
