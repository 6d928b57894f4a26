"""The manifests that most tests use: leave-worker asks for a scope of payroll-api in another namespace."""

from collections.abc import Callable

from .kube import Manifest
from .manifests import access_entry, oauth_client, resource_server, scope_grant

MakeNamespace = Callable[[str], str]


class Payroll:
    """A client, an API in another namespace, and the grant between them."""

    def __init__(self, make_namespace: MakeNamespace, **server: object) -> None:
        self.caller, self.owner = make_namespace("leave"), make_namespace("payroll")
        self.client = oauth_client(self.caller, "leave-worker", access_entry(self.owner, "payroll-api", "payroll.read"))
        self.server = resource_server(self.owner, "payroll-api", "payroll.read", "payroll.write", **server)
        self.grant = self.granting({"namespace": self.caller, "client": "leave-worker"})
        self.audience = f"https://payroll-api.{self.owner}.svc"

    def granting(self, *to: dict[str, object], **spec: object) -> Manifest:
        return scope_grant(self.owner, "leave-reads", "payroll-api", ["payroll.read"], *to, **spec)

    @property
    def manifests(self) -> tuple[Manifest, ...]:
        return self.client, self.server, self.grant
