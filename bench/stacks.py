"""`python -m bench.stacks FILE [N]`: where the time of a worker goes, by part and function, from samples of a profiler.

FILE is what `py-spy record --native --function --format raw` writes: a line for each stack, and how often it was seen.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

from rich.console import Console
from rich.table import Table

_FRAME: Final = re.compile(r"(?P<function>.*) \((?P<file>[^:()]*)(?::\d+)?\)")
_PARTS: Final = (
    ("signatures and digests", r"libcrypto|libssl|_rust|_hashopenssl|_sha2|cryptography"),
    ("httptools", r"httptools|llhttp|parser\.(c|pyx)$"),
    ("uvloop", r"uvloop|loop\.(c|pyx)$|uv/|(core|linux|stream|handle)\.c$|libuv"),
    ("system calls and libc", r"libc[.-]|libpthread|ld-linux|vdso"),
    ("orjson", r"orjson"),
    ("base64 and binascii", r"binascii"),
)
"""The part of a stack whose innermost frame has a file like this. All others are Python."""
_OWN: Final = re.compile(r"^(?:.*/)?scopewright/(?P<module>.*)\.py$")


def main() -> None:
    stacks = [_stack(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    number = int(sys.argv[2]) if len(sys.argv) > 2 else 25
    serving = [(frames, count) for frames, count in stacks if any(_OWN.match(file) for _, file in frames)]
    total = sum(count for _, count in serving)
    parts, own, inclusive = Counter[str](), Counter[str](), Counter[str]()
    for frames, count in serving:
        parts[_part(frames[-1][1])] += count
        functions = [f"{name} ({found['module']})" for name, file in frames if (found := _OWN.match(file))]
        own[functions[-1]] += count
        inclusive.update(dict.fromkeys(functions, count))
    console = Console()
    shown = Table("part", "share", title="by part, alone")
    for part, count in parts.most_common():
        shown.add_row(part, f"{count / total:.1%}")
    console.print(shown)
    shown = Table("function", "alone", "with what it calls", title="by function; alone includes C functions")
    for function, count in own.most_common(number):
        shown.add_row(function, f"{count / total:.1%}", f"{inclusive[function] / total:.1%}")
    console.print(shown)


def _stack(line: str) -> tuple[list[tuple[str, str]], int]:
    """Functions with their files, outermost first, and the number of samples."""
    text, _, count = line.rpartition(" ")
    found = [_FRAME.fullmatch(frame) for frame in text.split(";")]
    return [(frame["function"], frame["file"]) for frame in found if frame], int(count)


def _part(file: str) -> str:
    return next((part for part, pattern in _PARTS if re.search(pattern, file)), "Python")


if __name__ == "__main__":
    main()
