"""All pages in all their states in a real browser: accessible, within the screen, and allowed by their policy."""

from collections.abc import Iterator

import pytest

from tests.browser.accessibility import check_page
from tests.browser.chromium import SCREENS, TAB, Chromium, Screen
from tests.browser.page_server import PageServer
from tests.unit.issuer.users.sample_pages import NATIVE, sample_pages

LONG = "Donaudampfschifffahrtsgesellschaft" * 4
LOGIN_PAGES = ("login", "providers", "password", "login-failed-of-several")
FOCUSABLE = "a, button, summary, input:not([type=hidden])"
NARROW = Screen(320, 640, "light")
"""WCAG 2.2 §1.4.10: the width of 1280 pixels at 400 %."""


@pytest.fixture(scope="module")
def server() -> Iterator[PageServer]:
    long = {f"{name}-long": page for name, page in sample_pages(LONG, NATIVE).items()}
    with PageServer({**sample_pages(), **long}) as started:
        yield started


VIEWS = [
    *(pytest.param(screen, "", id=screen.name) for screen in SCREENS),
    pytest.param(NARROW, "", id="narrow"),
    pytest.param(NARROW, "-long", id="narrow-long"),
    pytest.param(SCREENS[1], "-long", id="desktop-long"),
]
"""Screens, with short and long values: long ones where there is least and most room."""


@pytest.mark.parametrize(("screen", "length"), VIEWS)
def test_pages_are_accessible(chromium: Chromium, server: PageServer, screen: Screen, length: str) -> None:
    chromium.show_as(screen)
    for name in sample_pages():
        chromium.open(f"{server.url}/{name}{length}")
        check_page(chromium)
        assert chromium.script("return getComputedStyle(document.querySelector('main')).borderRadius") != "0px"
        assert not chromium.complaints()


def test_a_page_with_faults_is_refused(chromium: Chromium) -> None:
    chromium.show_as(SCREENS[0])
    chromium.open("data:text/html,<title>t</title><h1>h</h1><button></button><p style='color: %23aaa'>pale</p>")
    with pytest.raises(AssertionError) as refused:
        check_page(chromium)
    assert {"button-name", "color-contrast", "html-has-lang"} <= set(str(refused.value).replace(":", " ").split())
    chromium.open("data:text/html,<html lang=en><title>t</title><main><h1 style='width: 3000px'>h</h1></main>")
    with pytest.raises(AssertionError, match="wider than the screen"):
        check_page(chromium)


def test_all_is_reached_by_keyboard_and_shows_the_focus(chromium: Chromium, server: PageServer) -> None:
    focused = "const e = document.activeElement; return [e.id, getComputedStyle(e).outlineStyle]"
    chromium.show_as(SCREENS[0])
    for name in (*LOGIN_PAGES, "consent", "no-access", "logout", "account"):
        chromium.open(f"{server.url}/{name}")
        wanted = chromium.script(f"return [...document.querySelectorAll('{FOCUSABLE}')].map(e => e.id)")
        reached = []
        for _ in wanted:
            chromium.press(TAB)
            element, outline = chromium.script(focused)
            assert outline == "solid", f"the focus on {element} of {name} is not visible"
            reached.append(element)
        assert reached == wanted, name
