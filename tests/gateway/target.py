"""A proxy in front of a service, and what may be expected of every request through it."""

from collections.abc import Mapping
from dataclasses import dataclass

from tests.gateway.apis import Routed, Service
from tests.gateway.oracle import Oracle
from tests.gateway.proxies import Proxy
from tests.gateway.wire import Answer, ask


@dataclass(frozen=True)
class Target:
    proxy: Proxy
    service: Service
    oracle: Oracle
    tokens: Mapping[str, str]
    """By name: `reader`, `writer` and `admin` are valid, `expired`, `foreign` and `forged` are not."""

    def seen(self) -> list[Routed]:
        """What the service saw since the last call. Asserts that each request was rightly allowed."""
        routed = self.service.routed()
        violations = [text for each in routed for text in self.oracle.violations(each)]
        assert not violations, "\n".join(violations)
        return routed

    def ask(self, data: bytes) -> Answer | None:
        return ask(self.proxy.port, data)

    def refuses(self, data: bytes) -> Answer | None:
        """Asserts that the request is refused with a status of 4xx, or its connection closed, and not passed on."""
        answer = self.ask(data)
        assert self.seen() == [], data[:200]
        assert answer is None or 400 <= answer.status < 500 or answer.status in (501, 505), answer
        return answer

    def passes(self, data: bytes) -> Routed:
        """Asserts that the service got the request, and that its answer came back."""
        answer = self.ask(data)
        assert answer is not None
        assert answer.status == 200, answer
        (routed,) = self.seen()
        return routed
