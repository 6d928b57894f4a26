"""A page as a browser without JavaScript sees it: texts and links by id, and forms with their fields and buttons."""

from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import Final
from urllib.parse import urljoin

import httpx

_VOID: Final = frozenset(("area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"))
_INVISIBLE: Final = frozenset(("head", "script", "style", "template"))


@dataclass(frozen=True)
class Button:
    """A submit button; `name` may be empty."""

    name: str
    value: str


@dataclass
class Form:
    action: str
    """An absolute URL."""
    method: str
    fields: list[tuple[str, str]] = field(default_factory=list)
    """Inputs with their values, hidden ones too; of check boxes and radio buttons the checked ones."""
    buttons: dict[str, Button] = field(default_factory=dict)
    """By id."""


class Page(HTMLParser):
    """An HTML response. Forms, links and texts are found by id only."""

    def __init__(self, response: httpx.Response) -> None:
        super().__init__()
        self.url, self.status, self.headers, self.html = str(response.url), response.status_code, response.headers, ""
        self.forms: dict[str, Form] = {}
        self.texts: dict[str, str] = {}
        self.links: dict[str, str] = {}
        """URLs by id."""
        self.title = ""
        self._open: list[tuple[str, str]] = []
        self._form: Form | None = None
        self.html = response.text
        self.feed(self.html)
        self.close()
        self.texts = {name: " ".join(text.split()) for name, text in self.texts.items()}

    def __repr__(self) -> str:
        return f"{self.url}: {self.status} {' '.join(self.texts.values()) or self.html}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        if name := given.get("id", ""):
            assert name not in self.texts, f"{self.url} has the id {name} twice"
            self.texts[name] = ""
        match tag:
            case "form":
                target = urljoin(self.url, given.get("action") or self.url)
                self._form = self.forms[name] = Form(target, given.get("method", "get").upper())
            case "a" if name and "href" in given:
                self.links[name] = urljoin(self.url, given["href"])
            case "input":
                self._input(given)
            case "button" if given.get("type", "submit") == "submit":
                self._button(name, given)
        if tag not in _VOID:
            self._open.append((tag, name))

    def handle_endtag(self, tag: str) -> None:
        if tag == "form":
            self._form = None
        while self._open and self._open.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "title":
            self.title += data
        if not any(tag in _INVISIBLE for tag, _ in self._open):
            for name in filter(None, (name for _, name in self._open)):
                self.texts[name] += f"{data} "

    def _input(self, given: dict[str, str]) -> None:
        match given.get("type", "text"):
            case "submit":
                self._button(given.get("id", ""), given)
            case "checkbox" | "radio" if "checked" not in given:
                pass
            case _ if self._form is not None and given.get("name") and "disabled" not in given:
                self._form.fields.append((given["name"], given.get("value", "")))

    def _button(self, name: str, given: dict[str, str]) -> None:
        form = self.forms[given["form"]] if "form" in given else self._form
        if form is not None and "disabled" not in given:
            form.buttons[name] = Button(given.get("name", ""), given.get("value", ""))
