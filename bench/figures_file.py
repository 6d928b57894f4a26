"""Writes figures to files."""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any


def write_figures(folder: Path, name: str, figures: dict[str, Any]) -> Path:
    """Write `<folder>/<name>.json` atomically; return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    new = file.with_suffix(".new")
    made = datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
    new.write_text(json.dumps({"benchmark": name, "made": made, **figures}, indent=2) + "\n", encoding="utf-8")
    new.replace(file)
    return file
