"""For the tests of services: tokens, keys and endpoints of an issuer that exists in the test only.

Its keys are generated in the test's process, and no issuer publishes them: a service that trusts a real issuer refuses
its tokens. Do not use it to serve anything but tests. Needs what `verifier` and `client` need. The fixtures for pytest
are in `scopewright.pytest_plugin`.
"""

from scopewright.testing.issuer import FakeIssuer

__all__ = ["FakeIssuer"]
