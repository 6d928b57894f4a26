"""The command `scopewright` with a clock that a test moves: `python -m tests.interop.providers.moved_clock FILE dev …`.

The file has the seconds by which the clock is ahead. It must be replaced, not rewritten.
"""

import sys
import time
from pathlib import Path
from typing import Final

_MOVED_BY: Final = Path(sys.argv.pop(1))
_time: Final = time.time


def _moved() -> float:
    return _time() + float(_MOVED_BY.read_text())


if __name__ == "__main__":
    time.time = _moved  # before the modules that keep a reference to it
    from scopewright.cli import main

    main()
