"""Dockerfile, archives and chart agree."""

from pathlib import Path

import yaml

from image import build
from image.__main__ import CONFIG

ROOT = Path(__file__).resolve().parents[3]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def test_dockerfile_archives_and_chart_agree() -> None:
    values = yaml.safe_load((ROOT / "charts/scopewright/values.yaml").read_text())
    assert values["pods"]["runAsUser"] == build.USER
    assert f"\nUSER {CONFIG['User']}\n" in DOCKERFILE
    assert f'\nENTRYPOINT ["{CONFIG["Entrypoint"][0]}"]\n' in DOCKERFILE
    assert f"\nENV {CONFIG['Env'][0]}\n" in DOCKERFILE


def test_build_context_has_exactly_the_files_that_dockerfile_copies() -> None:
    copied = {
        source
        for line in DOCKERFILE.splitlines()
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    }
    included = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert included == copied
    assert all((ROOT / source).exists() for source in copied)
