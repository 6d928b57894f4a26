"""A user of the web application, with a browser that knows links, forms and cookies, and runs no scripts."""

import re
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

from examples.hr.demo.children import DemoFailed
from examples.hr.demo.report import Answer


@dataclass
class Form:
    """A form of a page: its hidden fields, and its buttons by id, each with the name and the value that it sends."""

    action: str
    fields: dict[str, str] = field(default_factory=dict)
    buttons: dict[str, tuple[str, str]] = field(default_factory=dict)


class _Page(HTMLParser):
    """The forms by their id, and the text of `main`."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.forms: dict[str, Form] = {}
        self._form = Form("")
        self._in_main = False
        self._text: list[str] = []
        self.feed(html)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self._text)).strip()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        if tag == "form":
            self._form = self.forms[values.get("id", "")] = Form(values.get("action", ""))
        elif tag == "input":
            self._form.fields[values.get("name", "")] = values.get("value", "")
        elif tag == "button":
            self._form.buttons[values.get("id", "")] = values.get("name", ""), values.get("value", "")
        elif tag == "main":
            self._in_main = True
        self._text.append(" ")

    def handle_endtag(self, tag: str) -> None:
        self._in_main = self._in_main and tag != "main"

    def handle_data(self, data: str) -> None:
        if self._in_main:
            self._text.append(data)


class Staff:
    """`user` is the id of a user of the developer login, `web` the URL of the web application."""

    def __init__(self, user: str, web: str) -> None:
        self.user = user
        self._web = web
        self._http = httpx.AsyncClient(trust_env=False, timeout=30, follow_redirects=True)
        self._response = httpx.Response(200)
        self._page = _Page("")

    async def __aenter__(self) -> "Staff":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def open(self, path: str) -> Answer:
        return self._shown(await self._http.get(self._web + path))

    async def submit(self, form: str, button: str, **typed: str) -> Answer:
        """Click a button of a form of the page that is shown, with what the user has typed."""
        if form not in self._page.forms:
            raise DemoFailed(f"the page {self._response.url} has no form {form}: {self._page.text[:300]}")
        filled = self._page.forms[form]
        name, value = filled.buttons[button]
        clicked = {name: value} if name else {}
        target = str(self._response.url.join(filled.action)) if filled.action else str(self._response.url)
        return self._shown(await self._http.post(target, data=filled.fields | typed | clicked))

    async def log_in(self) -> Answer:
        """Log in, and allow what the application asks for if the user is asked."""
        await self.open("/login")
        answer = await self.submit("login", f"user-{self.user}")
        return await self.submit("consent", "allow") if "consent" in self._page.forms else answer

    def _shown(self, response: httpx.Response) -> Answer:
        self._response, self._page = response, _Page(response.text)
        return Answer(response.status_code, "", self._page.text)
