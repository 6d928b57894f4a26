"""Chromium without a window, driven by chromedriver over the W3C WebDriver protocol."""

import base64
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.debian import program
from tests.harness.waiting import poll
from tests.ports import free_port

_ELEMENT: Final = "element-6066-11e4-a52e-4f735466cecf"
"""The key of an element's reference (WebDriver §12)."""
_TIMEOUT_SECONDS: Final = 30.0
"""How long a start, or the next page, may take."""
TAB: Final = "\ue004"


@dataclass(frozen=True)
class Screen:
    """Size in CSS pixels, and the colour scheme that the user prefers."""

    width: int
    height: int
    scheme: str

    @property
    def name(self) -> str:
        return f"{'phone' if self.width < 600 else 'desktop'}-{self.scheme}"


SCREENS: Final = tuple(
    Screen(width, height, scheme) for width, height in ((1280, 800), (390, 844)) for scheme in ("light", "dark")
)


class Chromium:
    """A context manager: one browser with a profile of its own, which is removed at the end."""

    def __init__(self, folder: Path, trusted: Iterable[bytes] = ()) -> None:
        """`folder` gets the log of chromedriver. Certificates with the keys of `trusted`, as PEM, are valid."""
        self._trusted = [_spki_digest(certificate) for certificate in trusted]
        self._log = folder / "chromedriver.log"
        self._port = free_port()
        self._http = httpx.Client(base_url=f"http://127.0.0.1:{self._port}", timeout=60)
        self._session = ""
        self._screen: Screen | None = None

    def __enter__(self) -> "Chromium":
        binary = program("chromium", package="chromium")
        command = [program("chromedriver", package="chromium-driver"), f"--port={self._port}"]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        try:
            self._wait()
            arguments = ["--headless=new", "--hide-scrollbars", "--disable-dev-shm-usage", "--force-color-profile=srgb"]
            if os.geteuid() == 0:
                arguments.append("--no-sandbox")
            if self._trusted:
                arguments.append(f"--ignore-certificate-errors-spki-list={','.join(self._trusted)}")
            options = {"binary": binary, "args": arguments}
            wanted = {
                "browserName": "chrome",
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
                "timeouts": {"implicit": 5_000, "pageLoad": 30_000, "script": 30_000},
            }
            made = self._call("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
            self._session = f"/session/{made['sessionId']}"
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._session:
                self._call("DELETE", self._session)
        finally:
            self._http.close()
            self._process.terminate()
            self._process.wait(15)

    def show_as(self, screen: Screen) -> None:
        """Emulate the screen for the pages that follow, and for the current one."""
        self._screen = screen
        metrics = {"width": screen.width, "height": screen.height, "deviceScaleFactor": 1, "mobile": screen.width < 600}
        self._devtools("Emulation.setDeviceMetricsOverride", metrics)
        feature = {"name": "prefers-color-scheme", "value": screen.scheme}
        self._devtools("Emulation.setEmulatedMedia", {"features": [feature]})

    def forget_cookies(self) -> None:
        self._devtools("Network.clearBrowserCookies", {})

    def open(self, url: str) -> None:
        self._post("/url", {"url": url})

    @property
    def url(self) -> str:
        return str(self._call("GET", f"{self._session}/url"))

    @property
    def title(self) -> str:
        return str(self._call("GET", f"{self._session}/title"))

    def text(self, name: str) -> str:
        """The visible text of the element with this id; it must appear within 5 s."""
        return str(self._call("GET", f"{self._session}/element/{self._find(name)}/text"))

    def click(self, name: str) -> None:
        """Click the element with this id, which leads to another page, and wait for that."""
        page = self._element("html")
        self._post(f"/element/{self._find(name)}/click", {})
        end = time.monotonic() + _TIMEOUT_SECONDS
        while self._http.get(f"{self._session}/element/{page}/name").is_success:
            assert time.monotonic() < end, f"{self.url} stays after a click on {name}"
            time.sleep(0.02)

    def click_away(self, name: str) -> str:
        """Click the element with this id, which leads to an app of the user's device: a URL that is none of the web.
        Return the URL that the browser asks for. No app has it here, so the page stays until the next one.
        """
        self._logged("performance")
        self._post(f"/element/{self._find(name)}/click", {})

        def asked_for() -> str:
            requested = map(_requested, self._logged("performance"))
            return next((url for url in requested if url and not url.startswith(("http:", "https:"))), "")

        url = poll(asked_for, lambda: f"{self.url}: no app is asked for after a click on {name}", _TIMEOUT_SECONDS)
        self._replace_tab()
        return url

    def fill(self, name: str, text: str) -> None:
        """Type into the empty field with this id."""
        self._post(f"/element/{self._find(name)}/value", {"text": text})

    def press(self, key: str) -> None:
        strokes = [{"type": "keyDown", "value": key}, {"type": "keyUp", "value": key}]
        self._post("/actions", {"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]})

    def script(self, body: str, *arguments: object) -> Any:
        """The result of a function with this body. The page's Content-Security-Policy does not apply to it."""
        return self._post("/execute/sync", {"script": body, "args": arguments})

    def script_async(self, body: str, *arguments: object) -> Any:
        """As `script`, of a body that passes its result to its last argument."""
        return self._post("/execute/async", {"script": body, "args": arguments})

    def screenshot(self) -> bytes:
        """PNG of the whole page."""
        taken = self._devtools("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True})
        return base64.b64decode(taken["data"])

    def complaints(self) -> list[str]:
        """What the browser has logged since the last call, such as a violation of the Content-Security-Policy, without
        the status of error pages.
        """
        return [
            message for message in self._logged("browser") if "the server responded with a status of" not in message
        ]

    def _replace_tab(self) -> None:
        """The question of the browser whether to open an app keeps clicks from the pages of its tab."""
        opened = self._post("/window/new", {"type": "tab"})["handle"]
        self._call("DELETE", f"{self._session}/window")
        self._post("/window", {"handle": opened})
        if self._screen is not None:
            self.show_as(self._screen)

    def _logged(self, kind: str) -> list[str]:
        """The messages since the last call."""
        return [entry["message"] for entry in self._post("/se/log", {"type": kind})]

    def _find(self, name: str) -> str:
        return self._element(f'[id="{name}"]')

    def _element(self, selector: str) -> str:
        return str(self._post("/element", {"using": "css selector", "value": selector})[_ELEMENT])

    def _devtools(self, method: str, parameters: Mapping[str, object]) -> Any:
        return self._post("/goog/cdp/execute", {"cmd": method, "params": parameters})

    def _post(self, path: str, content: Mapping[str, object]) -> Any:
        return self._call("POST", self._session + path, content)

    def _call(self, method: str, path: str, content: Mapping[str, object] | None = None) -> Any:
        answer = self._http.request(method, path, json=content)
        value = answer.json()["value"]
        assert answer.is_success, f"{method} {path}: {value['error']}: {value['message']}"
        return value

    def _wait(self) -> None:
        end = time.monotonic() + _TIMEOUT_SECONDS
        while True:
            try:
                if self._call("GET", "/status")["ready"]:
                    return
            except httpx.TransportError:
                pass
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.05)


def _requested(message: str) -> str:
    """The URL of a page that the browser asks for, as an event of DevTools; empty for other events. A redirect that the
    policy of the page forbids is none.
    """
    event = json.loads(message)["message"]
    return str(event["params"]["documentURL"]) if event["method"] == "Network.requestWillBeSent" else ""


def _spki_digest(certificate: bytes) -> str:
    key = x509.load_pem_x509_certificate(certificate).public_key()
    spki = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(spki).digest()).decode()
