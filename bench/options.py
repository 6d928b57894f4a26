"""Parsers of option values."""

import argparse


def count(text: str) -> int:
    """A positive integer."""
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number; pass 1 or more")
    return int(text)
