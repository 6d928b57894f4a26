"""Random actions of users: declare, edit, delete and damage objects. Each returns a description for the history."""

import base64
import copy
from random import Random

from scopewright.api import API_VERSION, GROUP
from tests.simulation.expected_access import subject
from tests.simulation.observations import CREDENTIALS, NAMESPACE, paused
from tests.simulation.process import START
from tests.simulation.server import CRDS, DECLARED, USER, NamespacedName, Raw, Where
from tests.simulation.simulation import Simulation

NAMESPACES = ("leave", "payroll", "travel")
SCOPES = ("read", "write")
ROLES = ("reader", "writer")
SERVERS: tuple[NamespacedName, ...] = (("payroll", "salaries"), ("leave", "days"))
CLIENTS: tuple[NamespacedName, ...] = (
    ("leave", "worker"),
    ("travel", "booker"),
    ("payroll", "batch"),
    ("travel", "clerk"),
)
KEY_PAIR_SHARE = 0.25
"""Share of clients that use PrivateKeyJWT with a key pair that the operator makes; each may change its method."""
LOGIN_SHARE = 0.3
PUBLIC_SHARE = 0.1
"""Share of clients through which users log in, and of those without a credential; each may change."""
REDIRECT_URIS = (
    "https://travel.hr.example/callback",
    "https://leave.hr.example/callback",
    "https://hr.example.evil.example/callback",
    "http://127.0.0.1/callback",
)
NIGHT: Raw = {"start": "23:30", "duration": "90m", "timeZone": "Europe/Berlin"}
WEEKEND: Raw = {"days": ["Sat", "Sun"], "start": "00:00", "duration": "24h", "timeZone": "America/New_York"}


RULES: Raw = {"rules": [{"name": "all", "paths": ["/**"], "authentication": "Required"}]}
"""Of the API that has a hostname, that of its audience."""


class UserActions:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation, self.server, self.rng = simulation, simulation.server, simulation.rng
        self.methods = Random(self.rng.random())
        self.logins = Random(self.methods.random())
        self.manifests: dict[tuple[str, NamespacedName], Raw] = {}
        """The manifests in Git, which are applied again after a deletion."""

    # Declarations

    def apply(self, plural: str, at: NamespacedName, spec: Raw, **annotations: str) -> None:
        if not self.server.get(CRDS, "", f"{plural}.{GROUP}") or not self.server.get("namespaces", "", at[0]):
            return
        old = self.server.get(plural, *at)
        meta = dict(old["metadata"]) if old else {}
        given = {**(meta.get("annotations") or {}), **{f"scopewright.dev/{k}": v for k, v in annotations.items()}}
        content = {**(old or {}), "apiVersion": API_VERSION, "metadata": {**meta, "annotations": given}, "spec": spec}
        self.manifests[plural, at] = spec
        self.simulation.expected_access.deleted_with_crd.get(plural, {}).pop(at, None)
        self.server.put(plural, *at, content)

    def set_up_installation(self) -> None:
        """The installation and its first manifests."""
        self.server.install()
        for name in (NAMESPACE, *NAMESPACES):
            self.apply_namespace(name)
        rotation = {"every": self.rng.choice(("48h", "72h", "96h")), "publishAhead": "24h"}
        self.apply("signingkeys", (NAMESPACE, "default"), {"rotation": rotation})
        second = self.rng.random() < 0.4
        if second:
            self.apply("signingkeys", (NAMESPACE, "second"), {"rotation": rotation})
        self.apply(
            "resourceservers",
            SERVERS[0],
            {
                "scopes": [{"name": s} for s in SCOPES],
                "roles": self._roles(),
                "audience": "https://hr.example/pay",
                "servedBy": ["batch"],
                "http": RULES,
            },
        )
        tokens = {"lifetime": "1h", "signingKey": "second" if second else "default"}
        declared = {"scopes": [{"name": s} for s in SCOPES], "tokens": tokens, "servedBy": ["worker"]}
        self.apply("resourceservers", SERVERS[1], declared)
        self.apply_grant(), self.apply_grant()
        for at in CLIENTS[: self.rng.randint(2, 4)]:
            self.apply_client(at)

    def apply_namespace(self, name: str) -> None:
        labels = {"team": self.rng.choice(("hr", "it"))} if name in NAMESPACES else {}
        self.server.put("namespaces", "", name, {"metadata": {"labels": labels}})

    def apply_client(self, at: NamespacedName | None = None) -> str:
        at = at or self.rng.choice(CLIENTS)
        rng = self.rng
        access = [
            {"resourceServer": name, "namespace": space, "scopes": rng.sample(SCOPES, rng.randint(1, 2))}
            for space, name in rng.sample(SERVERS, rng.randint(1, 2))
        ]
        rotation: Raw = {"every": rng.choice(("36h", "72h", "120h")), "overlap": rng.choice(("2h", "6h", "12h"))}
        if rng.random() < 0.1:
            rotation["suspend"] = True
        spec: Raw = {"access": access, "rotation": rotation}
        if self.methods.random() < KEY_PAIR_SHARE:
            spec["authentication"] = {"method": "PrivateKeyJWT"}
        spec |= self._login()
        old = self.server.get("oauthclients", *at)
        if old and "credentials" in old["spec"]:
            spec["credentials"] = old["spec"]["credentials"]
        self.apply("oauthclients", at, spec)
        return f"applies OAuthClient {at}"

    def _login(self) -> Raw:
        """The part of a spec by which users log in, for some clients."""
        draw = self.logins.random()
        login = {
            "redirectURIs": self.logins.sample(REDIRECT_URIS, self.logins.randint(1, 3)),
            "consent": self.logins.choice(("Required", "Skip")),
        }
        if draw < PUBLIC_SHARE:
            public = {"authentication": {"method": "None"}, "grantTypes": ["authorization_code"]}
            return {**public, "login": {**login, "consent": "Required"}}
        return (
            {"grantTypes": ["client_credentials", "authorization_code"], "login": login} if draw < LOGIN_SHARE else {}
        )

    def apply_grant(self) -> str:
        at = ("payroll", self.rng.choice(("g1", "g2")))
        to: list[Raw] = [
            {"namespace": "travel"}, {"namespace": "leave", "client": "worker"}, {"allNamespaces": True},
            {"namespaceSelector": {"matchLabels": {"team": "hr"}}},
        ]  # fmt: skip
        spec: Raw = {
            "resourceServer": "salaries", "scopes": self.rng.sample(SCOPES, self.rng.randint(1, 2)),
            "to": self.rng.sample(to, self.rng.randint(1, 2)),
        }  # fmt: skip
        spec |= self._to_users()
        if self.rng.random() < 0.3:
            ahead = self.rng.uniform(60, 100 * 3600)
            spec["expirationTime"] = self.instant(ahead)
            self.server.loop.call_later(max(ahead - self.rng.uniform(1, 300), 0.0), self.simulation.request_tokens_soon)
        self.apply("scopegrants", at, spec)
        return f"applies ScopeGrant {at}"

    def _to_users(self) -> Raw:
        """Roles and users of a grant, if any."""
        rng = self.simulation.user_grants_rng
        users: list[Raw] = [{"allUsers": True}, {"subjects": [subject("ada")]}, {"groups": ["staff", "managers"]}]
        through: list[Raw] = [
            {"namespace": "payroll"}, {"namespace": "leave", "client": "worker"}, {"allNamespaces": True},
            {"namespaceSelector": {"matchLabels": {"team": "it"}}},
        ]  # fmt: skip
        entries = [{**rng.choice(users), "through": rng.choice(through)} for _ in range(rng.randint(0, 2))]
        roles = rng.sample(ROLES, rng.randint(0, 2))
        return ({"toUsers": entries} if entries else {}) | ({"roles": roles} if roles else {})

    def _roles(self) -> list[Raw]:
        """Roles of an API; some have scopes that it does not declare."""
        rng = self.simulation.user_grants_rng
        names = rng.sample(ROLES, rng.randint(0, 2))
        return [{"name": name, "scopes": rng.sample(SCOPES, rng.randint(1, 2))} for name in names]

    def instant(self, ahead: float = 0.0) -> str:
        seconds = START.timestamp() + self.server.loop.now + ahead
        return START.fromtimestamp(int(seconds), START.tzinfo).strftime("%Y-%m-%dT%H:%M:%SZ")

    # Edits

    def _random_object(self, plural: str) -> NamespacedName | None:
        found = sorted(self.server.all(plural))
        return self.rng.choice(found) if found else None

    def edit_client(self) -> str:
        """Change one field of a client."""
        at = self._random_object("oauthclients")
        if at is None:
            return self.apply_client()
        spec = copy.deepcopy(self.server.all("oauthclients")[at]["spec"])
        rotation = spec.setdefault("rotation", {})
        choices = {
            "every": ("24h", "48h", "96h"),
            "overlap": ("2h", "8h", "24h"),
            "maxOverlap": ("24h", "96h"),
            "windows": ([], [{"start": "02:00", "duration": "3h"}], [NIGHT, WEEKEND]),
            "suspend": (not rotation.get("suspend", False),),
            "revokedBefore": (self.instant(),),
        }
        what = self.rng.choice((*choices, "disabled", "secretName", "rotate", "paused"))
        if what in choices:
            rotation[what] = self.rng.choice(choices[what])
        elif what == "disabled":
            spec["disabled"] = not spec.get("disabled", False)
        elif what == "secretName":
            spec["credentials"] = {"secretName": f"{at[1]}-{self.rng.choice('xyz')}"}
        extra = {"rotate": str(self.rng.random())} if what == "rotate" else {}
        if what == "paused":
            extra = {"paused": "false" if paused(self.server.all("oauthclients")[at]) else "true"}
        self.apply("oauthclients", at, spec, **extra)
        return f"changes {what} of OAuthClient {at}"

    def change_grant(self) -> str:
        at = self._random_object("scopegrants")
        if at is None or self.rng.random() < 0.5:
            return self.apply_grant()
        self.server.remove(USER, Where("scopegrants", *at, ""))
        return f"deletes ScopeGrant {at}"

    def change_resource_server(self) -> str:
        at = self.rng.choice(SERVERS)
        old = self.server.get("resourceservers", *at)
        if old and self.rng.random() < 0.3:
            self.server.remove(USER, Where("resourceservers", *at, ""))
            return f"deletes ResourceServer {at}"
        scopes = [{"name": s} for s in self.rng.sample(SCOPES, self.rng.randint(1, 2))]
        self.apply("resourceservers", at, {**(old or {"spec": {}})["spec"], "scopes": scopes, "roles": self._roles()})
        return f"applies ResourceServer {at}"

    def relabel_namespace(self) -> str:
        name = self.rng.choice(NAMESPACES)
        self.apply_namespace(name)
        return f"labels namespace {name}"

    def delete_client(self) -> str:
        at = self._random_object("oauthclients")
        if at is None:
            return self.apply_client()
        self.server.remove(USER, Where("oauthclients", *at, ""))
        again = self.rng.random() < 0.7
        if again:
            spec = self.manifests["oauthclients", at]
            self.server.loop.call_later(
                self.rng.choice((0.001, 0.5, 30.0, 4000.0)), self.apply, "oauthclients", at, spec
            )
        return f"deletes OAuthClient {at}" + (", to be created again" if again else "")

    def delete_namespace(self) -> str:
        name = self.rng.choice(NAMESPACES)
        if not self.server.get("namespaces", "", name):
            return "does nothing"
        for plural in (*DECLARED, "secrets", "configmaps"):
            for at in [at for at in self.server.all(plural) if at[0] == name]:
                self.server.remove(USER, Where(plural, *at, ""))
        self.server.remove(USER, Where("namespaces", "", name, ""))
        self.server.loop.call_later(self.rng.choice((1.0, 100.0, 20000.0)), self._recreate_namespace, name)
        return f"deletes namespace {name}, to be created again"

    def _recreate_namespace(self, name: str) -> None:
        self.apply_namespace(name)
        for (plural, at), spec in sorted(self.manifests.items(), key=str):
            if at[0] == name and self.server.get(plural, *at) is None:
                self.apply(plural, at, spec)

    def change_signing_key(self) -> str:
        at = self.rng.choice([at for plural, at in self.manifests if plural == "signingkeys"])
        key = self.server.get("signingkeys", *at)
        if key is None:
            self.apply("signingkeys", at, self.manifests["signingkeys", at])
            return f"applies SigningKey {at[1]} again"
        what = self.rng.choice(("every", "every", "revoke", "delete"))
        if what == "delete":
            self.server.remove(USER, Where("signingkeys", *at, ""))
            self.server.loop.call_later(self.rng.choice((5.0, 50000.0)), self.apply, "signingkeys", at, key["spec"])
        else:
            spec = copy.deepcopy(key["spec"])
            if what == "every":
                spec["rotation"]["every"] = self.rng.choice(("48h", "72h", "120h"))
            else:
                spec["revokedBefore"] = self.instant()
            self.apply("signingkeys", at, spec)
        return f"SigningKey {at[1]}: {what}"

    # Damage

    def damage_secret(self) -> str:
        """A credential Secret is deleted, edited, or loses its labels."""
        found = sorted(at for at, raw in self.server.all("secrets").items() if raw.get("type") == CREDENTIALS)
        if not found:
            return "does nothing"
        at, what = self.rng.choice(found), self.rng.choice(("delete", "edit", "entry", "labels"))
        raw = self.server.all("secrets")[at]
        if what == "delete":
            self.server.remove(USER, Where("secrets", *at, ""))
        elif what == "labels":
            self.server.put("secrets", *at, {**raw, "metadata": {**raw["metadata"], "labels": {}}})
        else:
            entry = "client_secret" if what == "edit" else "token_endpoint"
            data = {**raw["data"], entry: base64.b64encode(b"edited").decode()}
            self.server.put("secrets", *at, {**raw, "data": data})
        return f"damages Secret {at}: {what}"

    def plant_foreign_secret(self) -> str:
        """Create a foreign Secret under the name that a client's Secret is about to have."""
        at = self._random_object("oauthclients")
        if at is None:
            return self.apply_client()
        name = f"{at[1]}-foreign"
        if not self.server.get("secrets", at[0], name):
            self.server.put(
                "secrets",
                at[0],
                name,
                {
                    "metadata": {},
                    "type": self.rng.choice(("Opaque", CREDENTIALS)),
                    "data": {"client_secret": "eA=="},
                },
            )
        spec = {**self.server.all("oauthclients")[at]["spec"], "credentials": {"secretName": name}}
        self.apply("oauthclients", at, spec)
        return f"creates a foreign Secret {name} for {at}"

    def delete_record(self) -> str:
        """Delete one object of the issuer's namespace."""
        found: list[tuple[str, NamespacedName]] = [
            ("secrets", at) for at in self.server.all("secrets") if at[0] == NAMESPACE
        ]
        found += [("configmaps", at) for at in self.server.all("configmaps") if at[0] == NAMESPACE]
        if not found:
            return "does nothing"
        plural, at = self.rng.choice(sorted(found))
        self.server.remove(USER, Where(plural, *at, ""))
        return f"deletes {plural} {at}"

    def overwrite_status(self) -> str:
        plural = self.rng.choice(DECLARED)
        at = self._random_object(plural)
        if at is None:
            return "does nothing"
        raw = self.server.all(plural)[at]
        conditions = [{"type": "Ready", "status": "True", "reason": "Scribbled", "message": "by hand"}]
        self.server.put(plural, *at, {**raw, "status": {"conditions": conditions}})
        return f"overwrites the status of {plural} {at}"
