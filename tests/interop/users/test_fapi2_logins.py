"""Users log in with `profile: FAPI2` through other projects' libraries: private_key_jwt, a pushed request and DPoP."""

import json
import os
import subprocess
from pathlib import Path
from typing import IO, Final

import pytest

from tests.harness.browser import FormBrowser, walk_login
from tests.harness.login_issuer import CONFIG, NAMESPACE, LoginIssuer, application
from tests.interop.users.programs import command

LIBRARIES: Final = ("openid-client-fapi2", "oauth4webapi-fapi2", "joserfc-fapi2")
REDIRECT_URI: Final = "https://web.hr.example/callback"


@pytest.mark.parametrize("library", LIBRARIES)
def test_user_logs_in_by_fapi2(library: str, tmp_path: Path) -> None:
    """The program runs with the key pair that the operator has made for it."""
    web = application(library, [REDIRECT_URI], authentication={"method": "PrivateKeyJWT"})
    started = command(library)
    with LoginIssuer(tmp_path, [web], config={**CONFIG, "profile": "FAPI2"}) as issuer:
        folder = issuer.secret_folder(NAMESPACE, library)
        environment = {**os.environ, "SCOPEWRIGHT_SECRET_DIR": str(folder), "REDIRECT_URI": REDIRECT_URI}
        url, answer = "", ""
        with (tmp_path / "errors").open("wb") as errors, _program(started, environment, errors) as program:
            assert program.stdin
            assert program.stdout
            url = program.stdout.readline().strip()
            if url:
                with FormBrowser(issuer.url) as browser:
                    program.stdin.write(f"{walk_login(browser, url, 'ada').url}\n")
                program.stdin.close()
                answer = program.stdout.read()
        assert "request_uri=" in url, (tmp_path / "errors").read_text()
        assert program.returncode == 0, (tmp_path / "errors").read_text()
    got = json.loads(answer)
    assert got["type"] == "dpop"
    assert got["user"]["iss"] == issuer.url
    assert got["userinfo"]["name"] == "Ada Lovelace"
    assert {got["user"]["sub"], got["userinfo"]["sub"], got["refreshed"]["sub"]} == {got["user"]["sub"]}


def _program(command: list[str], environment: dict[str, str], errors: IO[bytes]) -> "subprocess.Popen[str]":
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, text=True, stdin=pipe, stdout=pipe, stderr=errors)
