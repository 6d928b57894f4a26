"""Whether the body of a request can be sent again. For libraries that send file objects as they are."""

from typing import Any, Final

_IN_MEMORY: Final = (str, bytes, bytearray, memoryview)


class RequestBody:
    """A body, from the position where a file object is now."""

    def __init__(self, body: Any) -> None:
        self._body = body
        self._is_in_memory = body is None or isinstance(body, _IN_MEMORY)
        self._position = None if self._is_in_memory else _position(body)

    def rewind(self) -> bool:
        """Whether the whole body can be sent again now."""
        if self._position is None:
            return self._is_in_memory
        try:
            self._body.seek(self._position)
        except (OSError, ValueError):  # the latter if it is closed
            return False
        return True


def _position(body: Any) -> int | None:
    try:
        position = body.tell() if hasattr(body, "seek") else None
    except (AttributeError, OSError, ValueError):
        return None
    return position if isinstance(position, int) else None
