"""A user's way through `scopewright dev` in a real browser, at each size and in each colour scheme."""

from collections.abc import Iterator

import pytest

from tests.browser.accessibility import check_page
from tests.browser.chromium import SCREENS, Chromium, Screen
from tests.browser.walk import Walk, installed


@pytest.fixture(scope="module", params=SCREENS, ids=lambda screen: screen.name)
def walk(
    request: pytest.FixtureRequest, chromium: Chromium, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Walk]:
    screen: Screen = request.param
    chromium.show_as(screen)

    def seen(name: str) -> None:
        check_page(chromium)
        assert not chromium.complaints(), name

    with installed(tmp_path_factory.mktemp("dev")) as installation:
        yield Walk(installation, chromium, seen)


def test_a_user_logs_in_consents_and_is_logged_out_by_the_application(walk: Walk) -> None:
    walk.login_and_logout()


def test_a_user_refuses_or_is_refused(walk: Walk) -> None:
    walk.refusals()


def test_a_user_logs_in_to_an_app_of_the_device(walk: Walk) -> None:
    walk.login_of_an_app()


def test_a_user_logs_out(walk: Walk) -> None:
    walk.logout_by_the_user()
