"""Whether the body of a request can be sent again. For libraries that send file objects as they are."""

from typing import Any, Final

_IN_MEMORY: Final = (str, bytes, bytearray, memoryview)


class RequestBody:
    """A body, from the position where a file object is now."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._position = None if body is None or isinstance(body, _IN_MEMORY) else _position(body)
        self.can_repeat = body is None or isinstance(body, _IN_MEMORY) or self._position is not None

    def rewind(self) -> None:
        """Raises OSError if the file object cannot be rewound after all."""
        if self._position is not None:
            self._body.seek(self._position)


def _position(body: Any) -> int | None:
    try:
        position = body.tell()
        body.seek(position)
    except (AttributeError, OSError, ValueError):  # io.UnsupportedOperation is an OSError and a ValueError
        return None
    return position if isinstance(position, int) else None
