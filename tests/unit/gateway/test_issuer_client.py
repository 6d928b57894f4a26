"""The client with which the gateway fetches keys: it trusts the CAs of SSL_CERT_FILE as they are now."""

from pathlib import Path

import httpx
import pytest

from scopewright.core.failures import Rejected
from scopewright.gateway.issuer_client import IssuerClient
from scopewright.http import Certificate, HttpLimits
from tests.controlplane.certificates import Authority
from tests.unit.http.served import serving


def authority(folder: Path) -> Authority:
    folder.mkdir()
    return Authority.at(folder)


async def test_file_of_the_authorities_is_read_again_when_it_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = authority(tmp_path / "first"), authority(tmp_path / "second")
    for name, content in zip(("tls.crt", "tls.key"), second.server(), strict=True):
        (tmp_path / name).write_bytes(content)
    file = tmp_path / "ca.crt"
    file.write_bytes(first.pem)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    async with serving(HttpLimits(), Certificate(tmp_path / "tls.crt", tmp_path / "tls.key")) as served:
        url = f"https://localhost:{served.port}/"
        client = IssuerClient()
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            await client.get(url)
        (tmp_path / "new").write_bytes(second.pem)
        (tmp_path / "new").replace(file)
        assert (await client.get(url)).status_code == 200
        file.write_bytes(second.pem[:100])
        assert (await client.get(url)).status_code == 200, "half a file is not used"
        file.unlink()
        assert (await client.get(url)).status_code == 200, "a file that is away for a moment changes nothing"
        await client.aclose()


def test_authorities_that_cannot_be_read_are_refused_at_the_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "missing.crt"))
    with pytest.raises(Rejected, match="which is not a file of CA certificates"):
        IssuerClient()
