"""The CAs that the HTTP client of the libraries trusts. Shared by `verifier`, `client` and the command line."""

import os
from typing import Final

from scopewright.http_flow import FetchError

AUTHORITIES: Final = "SSL_CERT_FILE"
"""The variable with the file of a private CA, which httpx reads."""


def check_authorities() -> None:
    """Raise FetchError if the variable is set and its file cannot be used: httpx names neither."""
    file = os.environ.get(AUTHORITIES)
    if not file:
        return
    import ssl  # slow, and needed only by a process that fetches

    try:
        ssl.create_default_context(cafile=file)
    except OSError as error:  # an SSLError too
        raise FetchError(
            f"{AUTHORITIES} is {file}, which is not a file of CA certificates in PEM ({error.strerror})"
        ) from None
