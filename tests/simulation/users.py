"""What people do to it: declare, edit, delete, and break things, at random. Each act says in words what it did."""

import base64
import copy
from random import Random

from scopewright.api import API_VERSION, GROUP
from tests.simulation.ledger import CREDENTIALS, NAMESPACE, paused
from tests.simulation.process import START
from tests.simulation.server import CRDS, DECLARED, USER, At, Raw, Where
from tests.simulation.simulation import Simulation

SPACES = ("leave", "payroll", "travel")
SCOPES = ("read", "write")
SERVERS: tuple[At, ...] = (("payroll", "salaries"), ("leave", "days"))
CLIENTS: tuple[At, ...] = (("leave", "worker"), ("travel", "booker"), ("payroll", "batch"), ("travel", "clerk"))
PAIRS = 0.25
"""How many clients prove who they are by a key pair that the operator makes; each may change to it, and back."""
NIGHT: Raw = {"start": "23:30", "duration": "90m", "timeZone": "Europe/Berlin"}
WEEKEND: Raw = {"days": ["Sat", "Sun"], "start": "00:00", "duration": "24h", "timeZone": "America/New_York"}


class Users:
    def __init__(self, simulation: Simulation) -> None:
        self.simulation, self.server, self.chance = simulation, simulation.server, simulation.chance
        self.methods = Random(self.chance.random())
        self.manifests: dict[tuple[str, At], Raw] = {}
        """What is in Git: to be applied again after a deletion."""

    # Declaring

    def apply(self, plural: str, at: At, spec: Raw, **annotations: str) -> None:
        if not self.server.get(CRDS, "", f"{plural}.{GROUP}") or not self.server.get("namespaces", "", at[0]):
            return
        old = self.server.get(plural, *at)
        meta = dict(old["metadata"]) if old else {}
        given = {**(meta.get("annotations") or {}), **{f"scopewright.dev/{k}": v for k, v in annotations.items()}}
        content = {**(old or {}), "apiVersion": API_VERSION, "metadata": {**meta, "annotations": given}, "spec": spec}
        self.manifests[plural, at] = spec
        self.simulation.allowed.ghosts.get(plural, {}).pop(at, None)
        self.server.put(plural, *at, content)

    def found(self) -> None:
        """The installation and its first manifests."""
        self.server.install()
        for name in (NAMESPACE, *SPACES):
            self.namespace(name)
        rotation = {"every": self.chance.choice(("48h", "72h", "96h")), "publishAhead": "24h"}
        self.apply("signingkeys", (NAMESPACE, "default"), {"rotation": rotation})
        second = self.chance.random() < 0.4
        if second:
            self.apply("signingkeys", (NAMESPACE, "second"), {"rotation": rotation})
        self.apply(
            "resourceservers",
            SERVERS[0],
            {"scopes": [{"name": s} for s in SCOPES], "audience": "https://hr.example/pay", "servedBy": ["batch"]},
        )
        tokens = {"lifetime": "1h", "signingKey": "second" if second else "default"}
        declared = {"scopes": [{"name": s} for s in SCOPES], "tokens": tokens, "servedBy": ["worker"]}
        self.apply("resourceservers", SERVERS[1], declared)
        self.grant(), self.grant()
        for at in CLIENTS[: self.chance.randint(2, 4)]:
            self.client(at)

    def namespace(self, name: str) -> None:
        labels = {"team": self.chance.choice(("hr", "it"))} if name in SPACES else {}
        self.server.put("namespaces", "", name, {"metadata": {"labels": labels}})

    def client(self, at: At | None = None) -> str:
        at = at or self.chance.choice(CLIENTS)
        chance = self.chance
        access = [
            {"resourceServer": name, "namespace": space, "scopes": chance.sample(SCOPES, chance.randint(1, 2))}
            for space, name in chance.sample(SERVERS, chance.randint(1, 2))
        ]
        rotation: Raw = {"every": chance.choice(("36h", "72h", "120h")), "overlap": chance.choice(("2h", "6h", "12h"))}
        if chance.random() < 0.1:
            rotation["suspend"] = True
        spec: Raw = {"access": access, "rotation": rotation}
        if self.methods.random() < PAIRS:
            spec["authentication"] = {"method": "PrivateKeyJWT"}
        old = self.server.get("oauthclients", *at)
        if old and "credentials" in old["spec"]:
            spec["credentials"] = old["spec"]["credentials"]
        self.apply("oauthclients", at, spec)
        return f"applies OAuthClient {at}"

    def grant(self) -> str:
        at = ("payroll", self.chance.choice(("g1", "g2")))
        to: list[Raw] = [
            {"namespace": "travel"}, {"namespace": "leave", "client": "worker"}, {"allNamespaces": True},
            {"namespaceSelector": {"matchLabels": {"team": "hr"}}},
        ]  # fmt: skip
        spec: Raw = {
            "resourceServer": "salaries", "scopes": self.chance.sample(SCOPES, self.chance.randint(1, 2)),
            "to": self.chance.sample(to, self.chance.randint(1, 2)),
        }  # fmt: skip
        if self.chance.random() < 0.3:
            ahead = self.chance.uniform(60, 100 * 3600)
            spec["expirationTime"] = self.instant(ahead)
            self.server.loop.call_later(max(ahead - self.chance.uniform(1, 300), 0.0), self.simulation.soon)
        self.apply("scopegrants", at, spec)
        return f"applies ScopeGrant {at}"

    def instant(self, ahead: float = 0.0) -> str:
        seconds = START.timestamp() + self.server.loop.now + ahead
        return START.fromtimestamp(int(seconds), START.tzinfo).strftime("%Y-%m-%dT%H:%M:%SZ")

    # Editing

    def _some(self, plural: str) -> At | None:
        found = sorted(self.server.all(plural))
        return self.chance.choice(found) if found else None

    def tune(self) -> str:
        """One field of a client."""
        at = self._some("oauthclients")
        if at is None:
            return self.client()
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
        what = self.chance.choice((*choices, "disabled", "secretName", "rotate", "paused"))
        if what in choices:
            rotation[what] = self.chance.choice(choices[what])
        elif what == "disabled":
            spec["disabled"] = not spec.get("disabled", False)
        elif what == "secretName":
            spec["credentials"] = {"secretName": f"{at[1]}-{self.chance.choice('xyz')}"}
        extra = {"rotate": str(self.chance.random())} if what == "rotate" else {}
        if what == "paused":
            extra = {"paused": "false" if paused(self.server.all("oauthclients")[at]) else "true"}
        self.apply("oauthclients", at, spec, **extra)
        return f"changes {what} of OAuthClient {at}"

    def regrant(self) -> str:
        at = self._some("scopegrants")
        if at is None or self.chance.random() < 0.5:
            return self.grant()
        self.server.remove(USER, Where("scopegrants", *at, ""))
        return f"deletes ScopeGrant {at}"

    def serve(self) -> str:
        at = self.chance.choice(SERVERS)
        old = self.server.get("resourceservers", *at)
        if old and self.chance.random() < 0.3:
            self.server.remove(USER, Where("resourceservers", *at, ""))
            return f"deletes ResourceServer {at}"
        scopes = [{"name": s} for s in self.chance.sample(SCOPES, self.chance.randint(1, 2))]
        self.apply("resourceservers", at, {**(old or {"spec": {}})["spec"], "scopes": scopes})
        return f"applies ResourceServer {at}"

    def relabel(self) -> str:
        name = self.chance.choice(SPACES)
        self.namespace(name)
        return f"labels namespace {name}"

    def delete(self) -> str:
        at = self._some("oauthclients")
        if at is None:
            return self.client()
        self.server.remove(USER, Where("oauthclients", *at, ""))
        again = self.chance.random() < 0.7
        if again:
            spec = self.manifests["oauthclients", at]
            self.server.loop.call_later(
                self.chance.choice((0.001, 0.5, 30.0, 4000.0)), self.apply, "oauthclients", at, spec
            )
        return f"deletes OAuthClient {at}" + (", to be made again" if again else "")

    def delete_namespace(self) -> str:
        name = self.chance.choice(SPACES)
        if not self.server.get("namespaces", "", name):
            return "does nothing"
        for plural in (*DECLARED, "secrets", "configmaps"):
            for at in [at for at in self.server.all(plural) if at[0] == name]:
                self.server.remove(USER, Where(plural, *at, ""))
        self.server.remove(USER, Where("namespaces", "", name, ""))
        self.server.loop.call_later(self.chance.choice((1.0, 100.0, 20000.0)), self._again, name)
        return f"deletes namespace {name}, to be made again"

    def _again(self, name: str) -> None:
        self.namespace(name)
        for (plural, at), spec in sorted(self.manifests.items(), key=str):
            if at[0] == name and self.server.get(plural, *at) is None:
                self.apply(plural, at, spec)

    def rekey(self) -> str:
        at = self.chance.choice([at for plural, at in self.manifests if plural == "signingkeys"])
        key = self.server.get("signingkeys", *at)
        if key is None:
            self.apply("signingkeys", at, self.manifests["signingkeys", at])
            return f"applies SigningKey {at[1]} again"
        what = self.chance.choice(("every", "every", "revoke", "delete"))
        if what == "delete":
            self.server.remove(USER, Where("signingkeys", *at, ""))
            self.server.loop.call_later(self.chance.choice((5.0, 50000.0)), self.apply, "signingkeys", at, key["spec"])
        else:
            spec = copy.deepcopy(key["spec"])
            if what == "every":
                spec["rotation"]["every"] = self.chance.choice(("48h", "72h", "120h"))
            else:
                spec["revokedBefore"] = self.instant()
            self.apply("signingkeys", at, spec)
        return f"SigningKey {at[1]}: {what}"

    # Breaking

    def spoil_secret(self) -> str:
        """A credential Secret is deleted, edited, or loses its labels."""
        mine = sorted(at for at, raw in self.server.all("secrets").items() if raw.get("type") == CREDENTIALS)
        if not mine:
            return "does nothing"
        at, what = self.chance.choice(mine), self.chance.choice(("delete", "edit", "entry", "labels"))
        raw = self.server.all("secrets")[at]
        if what == "delete":
            self.server.remove(USER, Where("secrets", *at, ""))
        elif what == "labels":
            self.server.put("secrets", *at, {**raw, "metadata": {**raw["metadata"], "labels": {}}})
        else:
            entry = "client_secret" if what == "edit" else "token_endpoint"
            data = {**raw["data"], entry: base64.b64encode(b"edited").decode()}
            self.server.put("secrets", *at, {**raw, "data": data})
        return f"spoils Secret {at}: {what}"

    def plant(self) -> str:
        """A foreign Secret where one of ours is to be."""
        at = self._some("oauthclients")
        if at is None:
            return self.client()
        name = f"{at[1]}-foreign"
        if not self.server.get("secrets", at[0], name):
            self.server.put(
                "secrets",
                at[0],
                name,
                {
                    "metadata": {},
                    "type": self.chance.choice(("Opaque", CREDENTIALS)),
                    "data": {"client_secret": "eA=="},
                },
            )
        spec = {**self.server.all("oauthclients")[at]["spec"], "credentials": {"secretName": name}}
        self.apply("oauthclients", at, spec)
        return f"plants Secret {name} for {at}"

    def spoil_record(self) -> str:
        """Something in the issuer's namespace is deleted by hand."""
        found: list[tuple[str, At]] = [("secrets", at) for at in self.server.all("secrets") if at[0] == NAMESPACE]
        found += [("configmaps", at) for at in self.server.all("configmaps") if at[0] == NAMESPACE]
        if not found:
            return "does nothing"
        plural, at = self.chance.choice(sorted(found))
        self.server.remove(USER, Where(plural, *at, ""))
        return f"deletes {plural} {at}"

    def scribble_status(self) -> str:
        plural = self.chance.choice(DECLARED)
        at = self._some(plural)
        if at is None:
            return "does nothing"
        raw = self.server.all(plural)[at]
        conditions = [{"type": "Ready", "status": "True", "reason": "Scribbled", "message": "by hand"}]
        self.server.put(plural, *at, {**raw, "status": {"conditions": conditions}})
        return f"scribbles the status of {plural} {at}"
