"""Writes screenshots of the pages of users: `python -m tests.browser.screenshots docs/users desktop-light`.

After the folder come the screens: desktop-light, desktop-dark, phone-light, phone-dark. Default: all.
"""

import io
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Final

from PIL import Image

from tests.browser.chromium import SCREENS, Chromium, Screen
from tests.browser.provider_walk import ProviderWalk, installed_with_providers
from tests.browser.walk import Seen, Walk, installed

_COLOURS: Final = 256
"""Enough for flat areas and the edges of letters; a file is half as large then."""


def write_screenshots(folder: Path, screens: Collection[str]) -> None:
    """One PNG for each page on each screen: `<page>-<screen>.png`."""
    folder.mkdir(exist_ok=True)
    for screen in (screen for screen in SCREENS if not screens or screen.name in screens):
        for write in (_with_developer_login, _with_providers):
            with tempfile.TemporaryDirectory() as scratch:
                write(screen, folder, Path(scratch))


def _with_developer_login(screen: Screen, folder: Path, scratch: Path) -> None:
    with installed(scratch) as installation, Chromium(scratch) as chromium:
        walk = Walk(installation, chromium, _writer(chromium, screen, folder))
        walk.login_and_logout()
        walk.refusals()
        walk.logout_by_the_user()


def _with_providers(screen: Screen, folder: Path, scratch: Path) -> None:
    with installed_with_providers(scratch) as installation, Chromium(scratch, [installation.certificate]) as chromium:
        walk = ProviderWalk(installation, chromium, _writer(chromium, screen, folder))
        walk.static_login()
        walk.upstream_login()
        walk.outage()


def _writer(chromium: Chromium, screen: Screen, folder: Path) -> Seen:
    def seen(name: str) -> None:
        (folder / f"{name}-{screen.name}.png").write_bytes(_reduced(chromium.screenshot()))

    chromium.show_as(screen)
    return seen


def _reduced(png: bytes) -> bytes:
    target = io.BytesIO()
    image = Image.open(io.BytesIO(png)).convert("RGB")
    image.quantize(_COLOURS, dither=Image.Dither.NONE).save(target, "PNG", optimize=True)
    return target.getvalue()


if __name__ == "__main__":
    write_screenshots(Path(sys.argv[1]), sys.argv[2:])
