"""A user whose browser goes from an application to the issuer, to a provider, and back."""

from dataclasses import dataclass
from ssl import SSLContext
from types import TracebackType
from typing import Self

from tests.harness.browser import Away, FormBrowser
from tests.harness.html_page import Page
from tests.interop.providers.login_form import LoginForm


@dataclass(frozen=True)
class Provider:
    """A provider as its users see it. `name` is that of its IdentityProvider."""

    name: str
    url: str
    form: LoginForm
    trust: SSLContext | bool = True


class Visitor:
    """A context manager: a browser, which keeps its cookies of the issuer and of the provider."""

    def __init__(self, issuer_url: str, provider: Provider) -> None:
        self.provider = provider
        self.issuer = FormBrowser(issuer_url)
        self.upstream = FormBrowser(provider.url, trust=provider.trust, secure_on_loopback=True)

    def log_in(self, url: str, user: str, password: str) -> Page | Away:
        """Open the URL, choose the provider and log in there, where asked. Return the application's callback, or the
        page of the issuer that is shown instead.
        """
        at = self.issuer.open(url)
        link = f"provider-{self.provider.name}"
        if isinstance(at, Page) and link in at.links:
            at = self.issuer.click(at, link)
        return self.return_from_provider(at, user, password) if self.is_upstream(at) else at

    def is_upstream(self, at: Page | Away) -> bool:
        return isinstance(at, Away) and at.url.startswith(f"{self.provider.url}/")

    def return_from_provider(self, at: Page | Away, user: str, password: str) -> Page | Away:
        """Log in at the provider, if it asks, and return to the issuer."""
        return self.issuer.open(self.callback_of(at, user, password))

    def callback_of(self, at: Page | Away, user: str, password: str) -> str:
        """Where the provider sends the browser after the login."""
        assert isinstance(at, Away), at
        shown = self.upstream.open(at.url)
        if isinstance(shown, Page) and self.provider.form.is_on(shown):
            shown = self.provider.form.submit(self.upstream, shown, user, password)
        assert isinstance(shown, Away), f"the provider shows {shown!r}"
        return shown.url

    @property
    def forms_shown(self) -> int:
        """How often the provider has asked who the user is."""
        return sum(self.provider.form.is_on(page) for page in self.upstream.shown)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.issuer.__exit__()
        self.upstream.__exit__()
