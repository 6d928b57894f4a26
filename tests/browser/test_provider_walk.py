"""Logins at identity providers in a real browser, at each size and in each colour scheme."""

from collections.abc import Iterator

import pytest

from tests.browser.accessibility import check_page
from tests.browser.chromium import SCREENS, Chromium
from tests.browser.provider_walk import ProviderInstallation, ProviderWalk, installed_with_providers


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProviderInstallation]:
    with installed_with_providers(tmp_path_factory.mktemp("dev")) as installation:
        yield installation


@pytest.fixture(scope="module")
def trusting(installation: ProviderInstallation, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chromium]:
    """A browser that trusts the certificate of the application."""
    with Chromium(tmp_path_factory.mktemp("chromium"), [installation.certificate]) as started:
        yield started


@pytest.fixture(params=SCREENS, ids=lambda screen: screen.name)
def walk(request: pytest.FixtureRequest, installation: ProviderInstallation, trusting: Chromium) -> ProviderWalk:
    def seen(name: str) -> None:
        check_page(trusting)
        assert not trusting.complaints(), name

    trusting.show_as(request.param)
    return ProviderWalk(installation, trusting, seen)


def test_a_static_user_chooses_mistypes_and_logs_in(walk: ProviderWalk) -> None:
    walk.static_login()


def test_a_user_of_a_provider_logs_in_or_cancels(walk: ProviderWalk) -> None:
    walk.upstream_login()


def test_a_user_logs_in_to_an_app_of_the_device(walk: ProviderWalk) -> None:
    walk.logins_of_an_app()


def test_a_login_fails_while_the_provider_does_and_is_tried_again(walk: ProviderWalk) -> None:
    walk.outage()
