"""Which TLS versions and cipher suites the server accepts, of all that this OpenSSL supports."""

import asyncio
import datetime as dt
import json
import os
import socket
import ssl
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Final

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from scopewright.http import Certificate, HttpLimits
from tests.controlplane.certificates import Authority
from tests.unit.http.served import serving

OLD: Final = (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1)
SUITES: Final = {
    "ecdsa": {
        "ECDHE-ECDSA-AES128-GCM-SHA256",
        "ECDHE-ECDSA-AES256-GCM-SHA384",
    },
    "rsa": {"ECDHE-RSA-AES128-GCM-SHA256", "ECDHE-RSA-AES256-GCM-SHA384"},
}
SUITES_1_3: Final = ("TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256")
NOT_ACCEPTED_1_3: Final = ("TLS_AES_128_CCM_SHA256", "TLS_AES_128_CCM_8_SHA256")

# The module ssl cannot choose suites of TLS 1.3; OpenSSL's own configuration can.
_CONFIGURATION: Final = """\
openssl_conf = top
[top]
ssl_conf = ssl
[ssl]
system_default = defaults
[defaults]
CipherString = DEFAULT:@SECLEVEL=0
Ciphersuites = {suite}
"""
_CLIENT: Final = """
import json, socket, ssl, sys
context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
context.minimum_version = ssl.TLSVersion.TLSv1_3
try:
    with socket.create_connection(("127.0.0.1", int(sys.argv[1])), 20) as raw, context.wrap_socket(raw) as tls:
        print(json.dumps(tls.cipher()))
except ssl.SSLError:
    print("null")
"""


def certificate(folder: Path, kind: str) -> Certificate:
    (folder / "ca").mkdir()
    pem, key = Authority.at(folder / "ca").server()
    if kind == "rsa":
        pem, key = self_signed(rsa.generate_private_key(65537, 2048))
    (folder / "tls.crt").write_bytes(pem)
    (folder / "tls.key").write_bytes(key)
    return Certificate(folder / "tls.crt", folder / "tls.key")


def self_signed(key: rsa.RSAPrivateKey) -> tuple[bytes, bytes]:
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return built.public_bytes(serialization.Encoding.PEM), private


def all_suites() -> list[str]:
    """All suites for TLS versions before 1.3."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL:COMPLEMENTOFALL:@SECLEVEL=0")
    return [suite["name"] for suite in context.get_ciphers() if suite["protocol"] != "TLSv1.3"]


def accepted(port: int, version: ssl.TLSVersion, suite: str) -> str | None:
    """The negotiated suite, or None."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        context.minimum_version = context.maximum_version = version
    context.set_ciphers(f"{suite}:@SECLEVEL=0")
    try:
        with socket.create_connection(("127.0.0.1", port), 20) as raw, context.wrap_socket(raw) as tls:
            agreed = tls.cipher()
    except (ssl.SSLError, ConnectionError):
        return None
    return agreed[0] if agreed else None


def scan(port: int) -> set[tuple[str, str]]:
    versions = (*OLD, ssl.TLSVersion.TLSv1_2)
    found = ((version.name, accepted(port, version, suite)) for version in versions for suite in all_suites())
    return {(version, suite) for version, suite in found if suite}


@pytest.mark.parametrize("kind", SUITES)
async def test_only_these_tls_1_2_suites_and_no_older_versions_are_accepted(tmp_path: Path, kind: str) -> None:
    assert len(all_suites()) > 50
    async with serving(HttpLimits(), certificate(tmp_path, kind)) as served:
        found = await asyncio.to_thread(scan, served.port)
    assert found == {("TLSv1_2", suite) for suite in SUITES[kind]}


async def test_only_these_tls_1_3_suites_are_accepted(tmp_path: Path) -> None:
    def ask(suite: str) -> str | None:
        configuration = tmp_path / f"{suite}.cnf"
        configuration.write_text(_CONFIGURATION.format(suite=suite))
        done = subprocess.run(
            [sys.executable, "-c", _CLIENT, str(served.port)],
            env=os.environ | {"OPENSSL_CONF": str(configuration)},
            capture_output=True,
            timeout=60,
            check=True,
        )
        agreed: list[str] | None = json.loads(done.stdout)
        return agreed[0] if agreed else None

    async with serving(HttpLimits(), certificate(tmp_path, "ecdsa")) as served:
        for suite in SUITES_1_3:
            assert await asyncio.to_thread(ask, suite) == suite
        for suite in NOT_ACCEPTED_1_3:
            assert await asyncio.to_thread(ask, suite) is None
