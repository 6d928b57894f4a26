"""Writes a generated document, or compares it: shared by the scripts in this directory."""

import sys
from pathlib import Path


def keep(document: Path, content: str, source: str = "code has") -> None:
    """Write it; with `--check` write nothing, and end with a message where the file is another."""
    if "--check" not in sys.argv:
        document.write_text(content)
    elif not document.exists() or document.read_text() != content:
        sys.exit(f"{document.name} is not as the {source} it: run `make docs`")
