"""A request that ends on a page."""

from typing import Final

from scopewright.issuer.users.page_values import WayBack

_MAX_AUDITED: Final = 200
"""Characters of what the request had."""


class PageProblem(Exception):
    """`description` is a sentence for the user. The rest is for the answer and the audit line."""

    def __init__(
        self,
        description: str,
        *,
        reason: str,
        status: int = 400,
        client_id: str = "",
        redirect_uri: str = "",
        way_back: WayBack | None = None,
    ) -> None:
        super().__init__(description)
        self.description = description
        self.reason = reason
        self.status = status
        self.client_id = client_id
        """A registered client; empty if it is not known."""
        self.redirect_uri = redirect_uri.partition("?")[0][:_MAX_AUDITED]
        """That of the request, without its query, if it is the problem."""
        self.way_back = way_back
        """Of a login that cannot continue here."""
