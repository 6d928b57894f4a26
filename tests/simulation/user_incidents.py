"""Rare actions of users: backups, restores, deleted CRDs; and the choice of the next action."""

from typing import Any

from scopewright.api import GROUP
from scopewright.core.objects import ROTATE_ANNOTATION
from scopewright.core.records.names import SEAL_KEY_NAME
from tests.simulation.observations import CLIENT_RECORD, CREDENTIALS, KEY_RECORD, NAMESPACE, owners
from tests.simulation.server import CRDS, KIND_OF, USER, NamespacedName, Raw, Where
from tests.simulation.simulation import Simulation
from tests.simulation.user_actions import NAMESPACES, UserActions


class UserIncidents(UserActions):
    def __init__(self, simulation: Simulation) -> None:
        super().__init__(simulation)
        self.backup: dict[str, dict[NamespacedName, Raw]] = {}
        self.crd_restored = 0.0
        """When a deleted CRD was last applied again."""

    def take_backup(self) -> str:
        self.backup = {p: dict(self.server.all(p)) for p in ("secrets", "configmaps", "oauthclients")}
        return "takes a backup"

    def restore(self) -> str:
        """Restore a part of the backup, as `velero restore` does: deleted objects get new UIDs."""
        if not self.backup:
            return self.take_backup()
        what = self.rng.choice(("credentials", "records", "keys", "jwks", "clients", "all"))
        count = 0
        for plural, objects in self.backup.items():
            for at, raw in sorted(objects.items()):
                if (
                    self._is_selected(what, plural, raw)
                    and self.server.get("namespaces", "", at[0])
                    and self.rng.random() < 0.7
                ):
                    self._restore_object(plural, at, raw)
                    count += 1
        return f"restores {what} ({count} objects)"

    def _is_selected(self, what: str, plural: str, raw: Raw) -> bool:
        kinds: dict[str, bool] = {
            "credentials": raw.get("type") == CREDENTIALS,
            "records": raw.get("type") == CLIENT_RECORD or raw["metadata"]["name"].startswith("resourceserver."),
            "keys": raw.get("type") == KEY_RECORD,
            "jwks": raw["metadata"]["name"].startswith("scopewright-jwks"),
            "clients": plural == "oauthclients",
        }
        return what == "all" or kinds[what]

    def _restore_object(self, plural: str, at: NamespacedName, raw: Raw) -> None:
        if plural == "oauthclients":
            self.apply(plural, at, raw["spec"])
            return
        meta = {k: v for k, v in raw["metadata"].items() if k in ("labels", "annotations", "ownerReferences")}
        if not all(self.simulation.observed.by_uid(uid) for uid in owners(raw)):
            meta.pop("ownerReferences", None)
        self.server.put(plural, *at, {**raw, "metadata": meta})

    def rotate_seal_key(self) -> str:
        raw = self.server.get("secrets", NAMESPACE, SEAL_KEY_NAME)
        if raw is None:
            return "does nothing: there is no seal key"
        annotations = {**raw["metadata"].get("annotations", {}), ROTATE_ANNOTATION: str(self.simulation.loop.now)}
        meta = {**raw["metadata"], "annotations": annotations}
        self.server.put("secrets", NAMESPACE, SEAL_KEY_NAME, {**raw, "metadata": meta})
        return "rotates the seal key"

    def delete_crd(self) -> str:
        """A CRD is deleted, and its objects with it; later it is applied again, and so are the manifests."""
        plural = self.rng.choice(("oauthclients", "resourceservers", "scopegrants"))
        if not self.server.get(CRDS, "", f"{plural}.{GROUP}"):
            return "does nothing"
        if plural != "scopegrants":  # a grant that is not declared gives nothing
            self.simulation.expected_access.deleted_with_crd.setdefault(plural, {}).update(self.server.all(plural))
        for at, raw in list(self.server.all(plural).items()):
            self.simulation.observed.deleted_with_crd.add(raw["metadata"]["uid"])
            self.server.remove(USER, Where(plural, *at, ""))
        self.server.remove(USER, Where(CRDS, "", f"{plural}.{GROUP}", ""))
        self.server.loop.call_later(self.rng.choice((2.0, 200.0, 30000.0)), self._apply_crd, plural)
        return f"deletes the CRD of {KIND_OF[plural]}"

    def _apply_crd(self, plural: str) -> None:
        self.server.put(CRDS, "", f"{plural}.{GROUP}", {"metadata": {}})
        self.crd_restored = self.server.loop.now
        for (kind, at), spec in sorted(self.manifests.items(), key=str):
            if kind == plural and self.server.get(plural, *at) is None:
                self.apply(plural, at, spec)

    def delete_all_clients(self) -> str:
        """Delete all clients of a namespace while watches deliver nothing, so that only the resync finds it."""
        name = self.rng.choice(NAMESPACES)
        deleted = [at for at in self.server.all("oauthclients") if at[0] == name]
        feeds = [
            (operator.kopf_events, operator.kopf_events.drop_rate)
            for operator in self.simulation.operators
            if operator.kopf_events
        ]
        for feed, _ in feeds:
            feed.drop_rate = 1.0
        for at in deleted:
            self.server.remove(USER, Where("oauthclients", *at, ""))
        for feed, dropping in feeds:
            feed.drop_rate = dropping
        return f"deletes all {len(deleted)} OAuthClients of {name} while no watch delivers"

    def random_action(self) -> str:
        """One action; frequent ones have higher weights."""
        actions: list[tuple[Any, int]] = [
            (self.apply_client, 4),
            (self.edit_client, 10),
            (self.change_grant, 5),
            (self.change_resource_server, 2),
            (self.relabel_namespace, 2),
            (self.delete_client, 3),
            (self.delete_namespace, 1),
            (self.change_signing_key, 2),
            (self.damage_secret, 4),
            (self.plant_foreign_secret, 1),
            (self.delete_record, 3),
            (self.overwrite_status, 1),
            (self.take_backup, 2),
            (self.restore, 2),
            (self.delete_crd, 1),
            (self.rotate_seal_key, 1),
            (self.delete_all_clients, 1),
        ]
        action = self.rng.choices([a for a, _ in actions], [w for _, w in actions])[0]
        return str(action())
