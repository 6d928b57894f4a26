"""`scopewright token`: one access token on standard output."""

import argparse
import json
import os
import time
from typing import Final

from scopewright.cli.library_commands import GOOD, REFUSED, UNAVAILABLE, USAGE, UsageError, fail, write_output
from scopewright.client import AccessToken, ClientCredentials, ClientOptions, MountedSecret, TokenError
from scopewright.client.credentials import CredentialSource
from scopewright.client.files import is_directory
from scopewright.origins import HttpUrl, host_of

SECRET_DIR: Final = "SCOPEWRIGHT_SECRET_DIR"  # noqa: S105  # names a directory
ISSUER: Final = "SCOPEWRIGHT_ISSUER"
_UNUSABLE_ANSWERS: Final = ("temporarily_unavailable", "invalid_response")


def print_token(arguments: argparse.Namespace) -> int:
    try:
        token = _credentials(arguments).token_sync()
    except TokenError as error:
        return fail(_exit_code(error), f"no token: {error}")
    except (ValueError, TypeError) as error:
        return fail(USAGE, str(error))
    write_output(f"{_printed(token, arguments)}\n")
    return GOOD


def _credentials(arguments: argparse.Namespace) -> ClientCredentials:
    if arguments.secret is not None:
        _check_directory(arguments.secret)
        os.environ[SECRET_DIR] = arguments.secret
    options = ClientOptions()
    if arguments.resource == "":
        raise UsageError("--resource is empty: pass the audience of an API, or omit it for the one in the Secret")
    if arguments.resource is not None:
        options["resource"] = arguments.resource
    if arguments.scope is not None:
        options["scope"] = arguments.scope
    credentials = ClientCredentials.from_env(**options)
    if arguments.allow_http:
        options["allow_http"] = [_issuer_host(credentials.source)]
        credentials = ClientCredentials.from_env(**options)
    return credentials


def _check_directory(text: str) -> None:
    """Raise UsageError for anything else. A text without a slash is not shown: it may be a client secret."""
    if text and is_directory(text):
        return
    shown = f"{text} is not a directory" if "/" in text else "that is not a directory"
    raise UsageError(f"--secret takes the directory where the Secret of the OAuthClient is mounted, and {shown}")


def _issuer_host(source: CredentialSource) -> str:
    """Raise UsageError if the issuer is not a URL. It is not shown: a URL may hold a password."""
    try:
        return host_of(HttpUrl.parse(source.read().issuer))
    except ValueError:
        where = source.path / "issuer" if isinstance(source, MountedSecret) else ISSUER
        raise UsageError(f"{where} is not the URL of an issuer, such as https://issuer.example") from None


def _exit_code(error: TokenError) -> int:
    if error.error in _UNUSABLE_ANSWERS or (error.status or 0) >= 500:
        return UNAVAILABLE
    return REFUSED if error.status is not None else USAGE


def _printed(token: AccessToken, arguments: argparse.Namespace) -> str:
    if arguments.header:
        return f"Authorization: Bearer {token.value}"
    if not arguments.json:
        return token.value
    lifetime = max(0, int(token.expires_at - time.time()))
    answer = {"access_token": token.value, "token_type": "Bearer", "expires_in": lifetime}
    return json.dumps(answer | {"scope": " ".join(sorted(token.scopes))})
