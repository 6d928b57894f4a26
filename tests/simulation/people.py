"""What people do in an emergency, and cause one by: backups, restores, CRDs deleted; and which act comes next."""

from typing import Any

from scopewright.api import GROUP
from scopewright.core.objects import ROTATE_ANNOTATION
from scopewright.core.records.names import SEAL_KEY_NAME
from tests.simulation.ledger import CLIENT_RECORD, CREDENTIALS, KEY_RECORD, NAMESPACE, owners
from tests.simulation.server import CRDS, KIND_OF, USER, At, Raw, Where
from tests.simulation.simulation import Simulation
from tests.simulation.users import SPACES, Users


class People(Users):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.backup: dict[str, dict[At, Raw]] = {}
        self.crd_back = 0.0
        """When the last CRD that was gone was applied again."""

    def back_up(self) -> str:
        self.backup = {p: dict(self.server.all(p)) for p in ("secrets", "configmaps", "oauthclients")}
        return "takes a backup"

    def restore(self) -> str:
        """Some of what the backup holds, as `velero restore` would: new UIDs where an object is not there any more."""
        if not self.backup:
            return self.back_up()
        what = self.chance.choice(("credentials", "records", "keys", "jwks", "clients", "all"))
        count = 0
        for plural, objects in self.backup.items():
            for at, raw in sorted(objects.items()):
                if (
                    self._meant(what, plural, raw)
                    and self.server.get("namespaces", "", at[0])
                    and self.chance.random() < 0.7
                ):
                    self._bring_back(plural, at, raw)
                    count += 1
        return f"restores {what} ({count} objects)"

    def _meant(self, what: str, plural: str, raw: Raw) -> bool:
        kinds: dict[str, bool] = {
            "credentials": raw.get("type") == CREDENTIALS,
            "records": raw.get("type") == CLIENT_RECORD or raw["metadata"]["name"].startswith("resourceserver."),
            "keys": raw.get("type") == KEY_RECORD,
            "jwks": raw["metadata"]["name"].startswith("scopewright-jwks"),
            "clients": plural == "oauthclients",
        }
        return what == "all" or kinds[what]

    def _bring_back(self, plural: str, at: At, raw: Raw) -> None:
        if plural == "oauthclients":
            self.apply(plural, at, raw["spec"])
            return
        meta = {k: v for k, v in raw["metadata"].items() if k in ("labels", "annotations", "ownerReferences")}
        if not all(self.simulation.ledger.by_uid(uid) for uid in owners(raw)):
            meta.pop("ownerReferences", None)
        self.server.put(plural, *at, {**raw, "metadata": meta})

    def reseal(self) -> str:
        raw = self.server.get("secrets", NAMESPACE, SEAL_KEY_NAME)
        if raw is None:
            return "finds no seal key"
        annotations = {**raw["metadata"].get("annotations", {}), ROTATE_ANNOTATION: str(self.simulation.loop.now)}
        meta = {**raw["metadata"], "annotations": annotations}
        self.server.put("secrets", NAMESPACE, SEAL_KEY_NAME, {**raw, "metadata": meta})
        return "asks for another seal key"

    def lose_crd(self) -> str:
        """A CRD is deleted, and its objects with it; later it is applied again, and so are the manifests."""
        plural = self.chance.choice(("oauthclients", "resourceservers", "scopegrants"))
        if not self.server.get(CRDS, "", f"{plural}.{GROUP}"):
            return "does nothing"
        if plural != "scopegrants":  # consent that nobody declares any more is none
            self.simulation.allowed.ghosts.setdefault(plural, {}).update(self.server.all(plural))
        for at, raw in list(self.server.all(plural).items()):
            self.simulation.ledger.crd_lost.add(raw["metadata"]["uid"])
            self.server.remove(USER, Where(plural, *at, ""))
        self.server.remove(USER, Where(CRDS, "", f"{plural}.{GROUP}", ""))
        self.server.loop.call_later(self.chance.choice((2.0, 200.0, 30000.0)), self._apply_crd, plural)
        return f"deletes the CRD of {KIND_OF[plural]}"

    def _apply_crd(self, plural: str) -> None:
        self.server.put(CRDS, "", f"{plural}.{GROUP}", {"metadata": {}})
        self.crd_back = self.server.loop.now
        for (kind, at), spec in sorted(self.manifests.items(), key=str):
            if kind == plural and self.server.get(plural, *at) is None:
                self.apply(plural, at, spec)

    def clear_out(self) -> str:
        """All clients of a namespace are deleted, and no watch says so: so many at once look like an accident."""
        name = self.chance.choice(SPACES)
        gone = [at for at in self.server.all("oauthclients") if at[0] == name]
        feeds = [(operator.feed, operator.feed.dropping) for operator in self.simulation.operators if operator.feed]
        for feed, _ in feeds:
            feed.dropping = 1.0
        for at in gone:
            self.server.remove(USER, Where("oauthclients", *at, ""))
        for feed, dropping in feeds:
            feed.dropping = dropping
        return f"deletes all {len(gone)} OAuthClients of {name}, and no watch says so"

    def act(self) -> str:
        """One thing, the usual more often than the rare."""
        acts: list[tuple[Any, int]] = [
            (self.client, 4), (self.tune, 10), (self.regrant, 5), (self.serve, 2), (self.relabel, 2), (self.delete, 3),
            (self.delete_namespace, 1), (self.rekey, 2), (self.spoil_secret, 4), (self.plant, 1),
            (self.spoil_record, 3),
            (self.scribble_status, 1), (self.back_up, 2), (self.restore, 2), (self.lose_crd, 1),
            (self.reseal, 1), (self.clear_out, 1),
        ]  # fmt: skip
        act = self.chance.choices([a for a, _ in acts], [w for _, w in acts])[0]
        return str(act())
