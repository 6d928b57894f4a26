"""Text of others, for a terminal."""


def printable(text: str) -> str:
    """Escape what could control a terminal or change the order of text, such as U+001B and U+202E."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
