"""An answer to HEAD without its body, for frameworks that leave this to the server, and servers that do not do it.

Django gives the body to the server, and gunicorn sends it. A proxy that keeps the connection takes these bytes for the
beginning of the next answer (RFC 9110, section 9.3.2).
"""

from collections.abc import Iterable
from typing import Any


class HeadWithoutBody:
    def __init__(self, application: Any) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        answer: Iterable[bytes] = self._application(environ, start_response)
        if environ["REQUEST_METHOD"] != "HEAD":
            return answer
        if hasattr(answer, "close"):
            answer.close()
        return ()
