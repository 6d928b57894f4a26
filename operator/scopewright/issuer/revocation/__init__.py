"""Revocations: tokens that have ended before their expiry."""
