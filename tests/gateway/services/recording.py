"""What a service saw of each request, written by the service itself as one JSON line to a file.

The line has the method and the decoded path that the framework routed on, the name of the route that was chosen, and
the headers as the application gets them.
"""

import json
import os
from collections.abc import Iterable
from typing import Final

_FILE: Final = os.open(os.environ["GATEWAY_TEST_RECORDS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def record(method: str, path: str, route: str, headers: Iterable[tuple[str, str]]) -> None:
    """`path` is decoded. One write: concurrent threads do not mix their lines."""
    line = {"method": method, "path": path, "route": route, "headers": [[name.lower(), text] for name, text in headers]}
    os.write(_FILE, json.dumps(line).encode() + b"\n")


def wsgi_headers(environ: dict[str, object]) -> list[tuple[str, str]]:
    """The headers in WSGI, which cannot tell `_` from `-`."""
    names = {key: key.removeprefix("HTTP_") for key in environ if key.startswith("HTTP_") or key == "CONTENT_LENGTH"}
    return [(name.replace("_", "-"), str(environ[key])) for key, name in names.items()]
