"""`python -m bench.stacks FILE MICROSECONDS`: where the time of a worker goes, by part and function, from samples.

FILE is what `py-spy record --native --function --format raw` writes: a line for each stack, and how often it was seen.
MICROSECONDS is the CPU time of one response. The tables are Markdown, for docs/performance.md.
"""

import re
import sys
from collections import Counter
from pathlib import Path
from typing import Final

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
_FUNCTIONS: Final = 20
_OWN: Final = re.compile(r"^(?:.*/)?scopewright/(?P<module>.*)\.py$")


def main() -> None:
    stacks = [_stack(line) for line in Path(sys.argv[1]).read_text().splitlines()]
    of_one = float(sys.argv[2])
    serving = [(frames, count) for frames, count in stacks if any(_OWN.match(file) for _, file in frames)]
    total = sum(count for _, count in serving)
    parts, alone, in_all = Counter[str](), Counter[str](), Counter[str]()
    for frames, count in serving:
        parts[_part(frames[-1][1])] += count
        functions = [
            f"`{found['module']}.py: {name.replace('<locals>.', '')}`"
            for name, file in frames
            if (found := _OWN.match(file))
        ]
        alone[functions[-1]] += count
        in_all.update(dict.fromkeys(functions, count))
    print("| part | share | µs |\n| --- | --- | --- |")
    for part, count in parts.most_common():
        print(f"| {part} | {count / total:.0%} | {count / total * of_one:.1f} |")
    print("\n| function | alone | in all |\n| --- | --- | --- |")
    for function, count in alone.most_common(_FUNCTIONS):
        print(f"| {function} | {count / total:.1%} | {in_all[function] / total:.0%} |")


def _stack(line: str) -> tuple[list[tuple[str, str]], int]:
    """Functions with their files, outermost first, and the number of samples."""
    text, _, count = line.rpartition(" ")
    found = [_FRAME.fullmatch(frame) for frame in text.split(";")]
    return [(frame["function"], frame["file"]) for frame in found if frame], int(count)


def _part(file: str) -> str:
    return next((part for part, pattern in _PARTS if re.search(pattern, file)), "Python")


if __name__ == "__main__":
    main()
