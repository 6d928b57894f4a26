"""OpenID providers that answer as their vendors document it, with the settings of docs/users/providers.

The manifests are those of the pages: only the URL of the provider is another one. The vendors themselves are not asked.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import yaml

from scopewright.api import IdentityProvider
from scopewright.core.objects import Existing, Ref, digest
from scopewright.core.providers.record import record_write
from scopewright.core.providers.view import ProviderView, ReferencedObject
from scopewright.core.records.codec import decode
from scopewright.core.records.identity_provider import IdentityProviderRecord
from scopewright.core.records.names import CLIENT_SECRET_ENTRY, ENTRY
from scopewright.issuer.state.providers import Provider
from tests.documents import ROOT, document
from tests.harness.clock import START, Clock
from tests.harness.openid_provider import OpenIDProvider
from tests.pages.page import Page
from tests.unit.core.builders import CONFIG, meta

_BOTH: Final = ["client_secret_post", "client_secret_basic"]


def _by_scope(parameters: Mapping[str, str]) -> bool:
    return "offline_access" in parameters["scope"].split()


def _as_google_wants(parameters: Mapping[str, str]) -> bool:
    return parameters.get("access_type") == "offline" and "consent" in parameters.get("prompt", "").split()


@dataclass(frozen=True)
class Vendor:
    """How a vendor's provider answers. `page` is that of docs/users/providers, with a manifest of this name."""

    page: str
    manifest: str
    subject: str
    claims: Mapping[str, Any]
    """Of its user, in the ID token and at userinfo."""
    id_token: Mapping[str, Any] = field(default_factory=dict)
    """Changes of ID tokens; None: it has no such claim."""
    userinfo: Mapping[str, Any] = field(default_factory=dict)
    metadata: Mapping[str, Any] = field(default_factory=dict)
    claims_in_id_token: bool = True
    gives_refresh_token: Callable[[Mapping[str, str]], bool] = _by_scope
    """For an authorization request with these parameters."""


ENTRA: Final = Vendor(
    "entra.md",
    "company.yaml",
    "AAAAAAAAAAAAAAAAAAAAAIkzqFVrSaSaFHy782bbtaQ",
    {
        "oid": "00000000-0000-0000-66f3-3332eca7ea81",
        "tid": "8eaef023-2b34-4da1-9baa-8bc8c9d6a490",
        "ver": "2.0",
        "name": "Ada Lovelace",
        "preferred_username": "ada@hr.example",
        "roles": ["hr-staff", "mail-admins"],
        "rh": "0.AAAA",
        "uti": "fqiBqXLPj0eQa82S-IYFAA",
    },
    id_token={"at_hash": None, "nbf": int(START.timestamp()) - 300},
    userinfo={"oid": None, "tid": None, "roles": None, "preferred_username": None},
    metadata={
        "token_endpoint_auth_methods_supported": ["client_secret_post", "private_key_jwt"],
        "code_challenge_methods_supported": None,
        "authorization_response_iss_parameter_supported": None,
        "subject_types_supported": ["pairwise"],
    },
)
GOOGLE: Final = Vendor(
    "google.md",
    "google.yaml",
    "110169484474386276334",
    {
        "name": "Ada Lovelace",
        "email": "ada@example.org",
        "email_verified": True,
        "hd": "example.org",
        "picture": "https://lh3.example/photo.jpg",
    },
    id_token={"auth_time": None},
    metadata={
        "token_endpoint_auth_methods_supported": _BOTH,
        "code_challenge_methods_supported": ["plain", "S256"],
        "authorization_response_iss_parameter_supported": None,
    },
    gives_refresh_token=_as_google_wants,
)
OKTA: Final = Vendor(
    "okta.md",
    "company.yaml",
    "00uixa271s6x7qt8I0h7",
    {
        "name": "Ada Lovelace",
        "preferred_username": "ada@hr.example",
        "email": "ada@hr.example",
        "groups": ["hr-staff"],
        "zoneinfo": "Europe/London",
    },
    id_token={"ver": 1, "idp": "00oixa26ycdNcX0VT0h7", "amr": ["mfa", "pwd"], "jti": "ID.3xqAvJ3YTofkkrF0FpapgxFE"},
    metadata={
        "token_endpoint_auth_methods_supported": [*_BOTH, "client_secret_jwt", "private_key_jwt", "none"],
        "authorization_response_iss_parameter_supported": None,
    },
    claims_in_id_token=False,
)


@dataclass
class VendorProvider:
    """A vendor's provider on loopback, and the record that the page's manifests make."""

    vendor: Vendor
    openid: OpenIDProvider
    provider: Provider

    def visit(self, url: str) -> str:
        """Log its user in. Return where the browser is sent then."""
        sent = self.openid.visit(url)
        self.openid.with_refresh_token = self.vendor.gives_refresh_token(self.openid.last("authorize").parameters)
        return sent


@contextmanager
def vendor_provider(vendor: Vendor, clock: Clock, oidc: Mapping[str, Any] | None = None) -> Iterator[VendorProvider]:
    """`oidc` are changes of the page's `spec.oidc`."""
    text = Page.of(document(ROOT / "docs/users/providers" / vendor.page)).files[vendor.manifest]
    secret, declared = yaml.safe_load_all(text)
    settings = declared["spec"]["oidc"]
    with OpenIDProvider(algorithm="RS256", path=urlsplit(settings["issuerURL"]).path, clock=clock) as openid:
        openid.client_id, openid.client_secret = settings["clientID"], secret["stringData"]["client_secret"]
        openid.users = {vendor.subject: dict(vendor.claims)}
        openid.user = vendor.subject
        openid.id_token, openid.userinfo = dict(vendor.id_token), dict(vendor.userinfo)
        openid.metadata, openid.claims_in_id_token = dict(vendor.metadata), vendor.claims_in_id_token
        settings |= {"issuerURL": openid.issuer, **(oidc or {})}
        yield VendorProvider(vendor, openid, _provider(declared, secret))


def _provider(declared: Mapping[str, Any], secret: Mapping[str, Any]) -> Provider:
    """What the operator writes for the manifests."""
    metadata = meta(declared["metadata"]["namespace"], declared["metadata"]["name"])
    found = IdentityProvider.model_validate({"metadata": metadata, "spec": declared["spec"]})
    ref = Ref("Secret", secret["metadata"]["namespace"], secret["metadata"]["name"])
    entries = {name: value.encode() for name, value in secret["stringData"].items()}
    existing = Existing(ref, "uid", "1", secret["type"], entries={name: digest(v) for name, v in entries.items()})
    view = ProviderView(
        found,
        record=None,
        record_object=None,
        others=(),
        referenced={ref: ReferencedObject(existing, entries)},
        config=CONFIG,
        now=START,
        allow_loopback=True,
    )
    written: dict[str, Any] = dict(record_write(view).entries)
    return Provider(decode(IdentityProviderRecord, written[ENTRY]), written[CLIENT_SECRET_ENTRY].decode())
