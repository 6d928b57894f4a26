"""The pages of users: nothing in them is code, whatever the values are, and each form is protected."""

import base64
import hashlib
import itertools
import os
import re
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Final, get_args

import pytest

from scopewright.core.providers.password_hash import MAX_PASSWORD
from scopewright.core.users import OPENID_SCOPES
from scopewright.issuer.state.entries import build_client
from scopewright.issuer.upstream.login import RefusedReason
from scopewright.issuer.upstream.passwords import MAX_USERNAME
from scopewright.issuer.users import pages, texts
from scopewright.issuer.users.login_pages import LoginFailedPage, LoginProblem
from scopewright.issuer.users.page_values import ApiOnPage, Application, ScopeOnPage
from scopewright.issuer.users.pages import ErrorPage, Page
from scopewright.issuer.users.rendering import STYLE_SOURCE, render
from tests.base_install import build_wheel
from tests.harness.samples import client_record
from tests.unit.issuer.users.sample_pages import sample_pages

HOSTILE: Final = "\"'><script>alert(1)</script>{{ 7*7 }}&amp;<!--"
NATIVE_URIS: Final = ("http://127.0.0.1:4711/cb", "http://[::1]:4711/cb", "http://localhost/cb", "com.example.app:/cb")
ALL: Final = sorted(sample_pages())
TEMPLATES: Final = Path(pages.__file__).parent / "templates"


class Elements(HTMLParser):
    """All elements with their attributes, and the ids of those that are open at the end."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in ("meta", "input", "br"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def of(self, tag: str) -> list[dict[str, str]]:
        return [attributes for name, attributes in self.found if name == tag]


def elements(page: Page) -> Elements:
    return Elements(render(page).decode())


def test_each_page_has_a_sample_and_each_template_a_page() -> None:
    samples = {type(page) for page in sample_pages().values()}
    assert samples == set(get_args(Page))
    templates = {page.template for page in samples} | {"base.html", "parts.html"}
    assert templates == {file.name for file in TEMPLATES.glob("*.html")}


@pytest.mark.parametrize("name", ALL)
def test_values_are_text_only(name: str) -> None:
    page = elements(sample_pages(HOSTILE)[name])
    harmless = elements(sample_pages("x")[name])
    assert [(tag, sorted(attributes)) for tag, attributes in page.found] == [
        (tag, sorted(attributes)) for tag, attributes in harmless.found
    ]
    assert "49" not in page.text.replace("1790", "")


@pytest.mark.parametrize("name", ALL)
def test_pages_have_no_code_and_load_nothing(name: str) -> None:
    page = elements(sample_pages()[name])
    assert not page.open
    assert not {tag for tag, _ in page.found} & {"script", "link", "img", "iframe", "object", "embed", "base"}
    for _, attributes in page.found:
        assert not {a for a in attributes if a.startswith("on") or a in ("style", "src", "srcset", "formaction")}
    assert {a["href"] for a in page.of("a")} <= {"/login/text", "/account/text", "/account"}


@pytest.mark.parametrize("name", ALL)
def test_the_hash_allows_the_style_of_each_page(name: str) -> None:
    html = render(sample_pages(HOSTILE)[name])
    [style] = re.findall(b"<style>(.*?)</style>", html, re.DOTALL)
    assert base64.b64encode(hashlib.sha256(style).digest()).decode() in STYLE_SOURCE
    assert re.fullmatch(r"'sha256-[A-Za-z0-9+/]{43}='", STYLE_SOURCE)
    assert not re.search(rb"url\(|@import|</", style)


def test_each_rule_of_the_style_stands_once() -> None:
    """A block that was pasted a second time changes the rules around it."""
    rules = re.findall(r"([^{};]+)\{([^{}]*)\}", (TEMPLATES / "style.css").read_text())
    assert len(rules) > 50
    assert [selector for selector, body in rules if rules.count((selector, body)) > 1] == []


@pytest.mark.parametrize("name", ALL)
def test_forms_post_the_csrf_token_to_the_action(name: str) -> None:
    page = elements(sample_pages()[name])
    for form in page.of("form"):
        assert (form["method"], form["action"]) == ("post", "/path/text")
    tokens = [field for field in page.of("input") if field["name"] == "csrf"]
    assert [field["value"] for field in tokens] == ["csrf-text"] * len(page.of("form"))
    shown = {field["id"]: field["type"] for field in page.of("input") if field["type"] != "hidden"}
    assert shown == ({"username": "text", "password": "password"} if name.startswith("password") else {})
    assert all(button["id"] for button in page.of("button"))


@pytest.mark.parametrize("name", ALL)
def test_pages_have_what_assistive_technology_reads(name: str) -> None:
    page = elements(sample_pages()[name])
    assert page.of("html") == [{"lang": "en"}]
    assert len(page.of("h1")) == len(page.of("main")) == len(page.of("title")) == 1
    ids = [attributes["id"] for _, attributes in page.found if "id" in attributes]
    assert len(ids) == len(set(ids))
    levels = [int(tag[1]) for tag, _ in page.found if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))


@pytest.mark.parametrize("description", ["", " ", "\u200b", "\u200d\u3164", "\xa0.", "\U000e0041"])
def test_a_scope_whose_description_nobody_can_see_is_shown_by_its_name(description: str) -> None:
    apis = (ApiOnPage("api", "team", (ScopeOnPage("payroll.write", description),)),)
    consent = pages.ConsentOnPage(Application("hr.hr-web"), apis=apis)
    account = sample_pages()["account"]
    assert isinstance(account, pages.AccountPage)
    account = replace(account, consents=(consent,))
    assert "payroll.write (api)" in " ".join(elements(account).text.split())


@pytest.mark.parametrize("name", ALL)
def test_invisible_characters_do_not_reorder_text(name: str) -> None:
    shown = render(sample_pages("a\u202e\u061cb\u2066\u2028\xadc\u200b\u3164d\x07\U000e0041e")[name]).decode()
    shown = re.sub('<input type="hidden".*>', "", shown)
    hidden = "[\x00-\x08\x0b-\x1f\x7f\xad\u061c\u200b\u2028-\u202e\u2066-\u2069\u3164\U000e0000-\U000e0fff]"
    assert not re.search(hidden, shown)
    assert "abcde" in shown or name in (
        "login-without-users",
        "logged-out",
        "logged-out-without-redirect",
        "not-logged-in",
    )


def test_the_title_is_the_heading() -> None:
    assert "<title>This request cannot be continued – Scopewright</title>" in render(ErrorPage("x", "y")).decode()


def test_an_application_is_named_by_its_client_id_and_host() -> None:
    application = Application("hr.web.internal", "https://hr.example:8443/callback?x=https://other.example")
    assert (application.namespace, application.name, application.returns_to) == (
        "hr",
        "web.internal",
        "hr.example:8443",
    )


@pytest.mark.parametrize("uri", NATIVE_URIS)
def test_a_public_client_on_the_machine_of_the_user_is_not_verified(uri: str) -> None:
    client = build_client(client_record(public=True), "1")
    native = Application.of(client, uri)
    assert "not verified" in elements(sample_pages(application=native)["consent"]).text
    confidential = Application.of(build_client(client_record(), "1"), uri)
    on_the_web = Application.of(client, "https://hr.example/callback")
    for application in (confidential, on_the_web, Application.of(client)):
        assert "not verified" not in elements(sample_pages(application=application)["consent"]).text


def test_a_consent_that_asks_for_nothing_more_asks_whether_to_continue_as_the_user() -> None:
    samples = sample_pages()
    more, nothing_more = elements(samples["consent"]), elements(samples["consent-of-one-scope"])
    assert "Allow hr-web to act for you?" in more.text
    assert "Continue as text?" in nothing_more.text
    decisions = [(b["id"], b["value"]) for b in nothing_more.of("button")]
    assert decisions == [("deny", "deny"), ("allow", "allow")]


def test_fields_of_a_password_have_labels_bounds_and_the_names_that_password_managers_know() -> None:
    page = elements(sample_pages("ada")["password-wrong"])
    fields = {field["id"]: field for field in page.of("input") if field["type"] != "hidden"}
    assert [label["for"] for label in page.of("label")] == [*fields] == ["username", "password"]
    assert (fields["username"]["autocomplete"], fields["username"]["value"]) == ("username", "ada ada")
    assert (fields["password"]["autocomplete"], "value" in fields["password"]) == ("current-password", False)
    assert {int(field["maxlength"]) for field in fields.values()} == {MAX_USERNAME, MAX_PASSWORD}
    assert {field["aria-describedby"] for field in fields.values()} == {"password-problem"}


@pytest.mark.parametrize("problem", [*get_args(RefusedReason), "unavailable", "busy"])
def test_each_failed_login_has_a_text(problem: LoginProblem) -> None:
    page = sample_pages()["login-failed"]
    assert isinstance(page, LoginFailedPage)
    assert "Login of text" in elements(replace(page, problem=problem)).text
    assert texts.LOGIN_PROBLEMS[problem] not in [text for p, text in texts.LOGIN_PROBLEMS.items() if p != problem]


def test_each_openid_scope_has_a_text() -> None:
    assert set(texts.OPENID_SCOPES) == set(OPENID_SCOPES)


def test_each_text_is_used() -> None:
    files = [*TEMPLATES.glob("*.html"), *TEMPLATES.parent.glob("*.py")]
    used = "".join(file.read_text() for file in files)
    names = {name for name in vars(texts) if name.isupper()}
    assert {name for name in names if f"texts.{name}" not in used} == set()


def test_pages_are_in_the_wheel(tmp_path: Path) -> None:
    """Python imports the package from the wheel, as from any zip file."""
    wheel = build_wheel(tmp_path)
    program = (
        "from scopewright.issuer.users import pages, rendering;"
        "print(pages.__file__); print(rendering.render(pages.LoggedOutPage()).decode())"
    )
    environment = {**os.environ, "PYTHONPATH": str(wheel)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(wheel))
    assert texts.LOGGED_OUT_HEADING in done.stdout
