"""Turns a page into HTML.

Pages have no script, and load nothing: their one style is inline, and `STYLE_SOURCE` allows it in the
Content-Security-Policy. Every value is escaped.
"""

import base64
import hashlib
from datetime import UTC, datetime
from typing import Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from scopewright.issuer.users import texts
from scopewright.issuer.users.page_values import without_invisible
from scopewright.issuer.users.pages import Page


def render(page: Page) -> bytes:
    """Return the page as UTF-8, for `text/html; charset=utf-8`."""
    return _ENVIRONMENT.get_template(page.template).render(page=page).encode()


def _shown(value: object) -> object:
    """Called for each value of a template. Markup is one of `texts`, or was escaped with `| e` to stay as it is."""
    return value if isinstance(value, Markup) or not isinstance(value, str) else without_invisible(value)


def _fill(text: str, **values: str) -> Markup:
    """Fill values into a text; they are escaped."""
    return Markup(text).format(**{name: _shown(value) for name, value in values.items()})  # noqa: S704


def _utc(seconds: int) -> Markup:
    time = datetime.fromtimestamp(seconds, UTC)
    return Markup('<time datetime="{}">{} UTC</time>').format(
        time.isoformat(timespec="seconds"), time.strftime("%-d %B %Y, %H:%M")
    )


def _environment() -> Environment:
    loader = PackageLoader("scopewright.issuer.users", "templates")
    environment = Environment(
        loader=loader,
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    style, _, _ = loader.get_source(environment, "style.css")
    environment.filters |= {"fill": _fill, "utc": _utc}
    environment.globals = {"texts": texts, "style": Markup(style)}  # noqa: S704  # a file of this package
    return environment


_ENVIRONMENT: Final = _environment()
STYLE_SOURCE: Final = "'sha256-{}'".format(
    base64.b64encode(hashlib.sha256(str(_ENVIRONMENT.globals["style"]).encode()).digest()).decode()
)
"""The source of the pages' style, for `style-src` of the Content-Security-Policy."""
