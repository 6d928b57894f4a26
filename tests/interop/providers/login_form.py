"""The login page of a provider upstream, and how a browser without JavaScript submits it."""

from dataclasses import dataclass

from tests.harness.browser import Away, FormBrowser
from tests.harness.html_page import Page


@dataclass(frozen=True)
class LoginForm:
    """Ids of the form and its button, and names of its fields."""

    form: str
    user: str
    password: str
    button: str

    def is_on(self, at: Page | Away) -> bool:
        return isinstance(at, Page) and self.form in at.forms

    def submit(self, browser: FormBrowser, page: Page, user: str, password: str) -> Page | Away:
        return browser.submit(page, self.form, self.button, **{self.user: user, self.password: password})
