"""A request that ends on a page."""


class PageProblem(Exception):
    """`description` is a sentence for the user. `reason` is for the audit line."""

    def __init__(self, description: str, *, reason: str, status: int = 400, client_id: str = "") -> None:
        super().__init__(description)
        self.description = description
        self.reason = reason
        self.status = status
        self.client_id = client_id
        """A registered client; empty if it is not known."""
