"""Requests, responses and errors as OAuth defines them (RFC 6749)."""
