"""Decides where the token of a request may be sent."""

from collections.abc import Iterable

import httpx

from scopewright.client.errors import invalid_request
from scopewright.client.option_names import OptionNames
from scopewright.origins import advice, as_argument, host_names, host_of, is_among, is_secure


class Destinations:
    """`hosts` and `allow_http` of `ClientCredentials`. Without `hosts`, any host that the application calls."""

    def __init__(self, hosts: Iterable[str], allow_http: Iterable[str], names: OptionNames) -> None:
        self.allow_http = host_names("allow_http=", allow_http)
        self.hosts = host_names("hosts=", hosts)
        self._names = names

    def check(self, url: httpx.URL) -> None:
        """Raises `TokenError` if the token must not be sent to `url`. Its text names the argument to add."""
        if not is_secure(url, self.allow_http):
            how = advice(url, self.allow_http, self._names.variables.get("allow_http"))
            raise invalid_request(f"no token is sent over plain HTTP to {host_of(url)}: {how}")
        if self.hosts and not is_among(url, self.hosts):
            names = as_argument(self.hosts | {host_of(url)})
            raise invalid_request(f"{host_of(url)} is not one of the hosts that the token is for: pass hosts={names}")
