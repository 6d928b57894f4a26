"""Collects the current state for one key: everything that its plan depends on, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from scopewright.api import IdentityProvider, OAuthClient, ResourceServer, ScopeGrant, SigningKey
from scopewright.controller.cache import Cache
from scopewright.controller.index import secret_of
from scopewright.controller.key_generation import client_pair
from scopewright.core.access import requested_access
from scopewright.core.client.view import ClientView, NewCredential
from scopewright.core.config import Config
from scopewright.core.declared import Declared, ref_of
from scopewright.core.failed_writes import FailedWrite
from scopewright.core.grant_status import GrantView
from scopewright.core.objects import Ref
from scopewright.core.plan import Event
from scopewright.core.profile import allows
from scopewright.core.servers import ServerView
from scopewright.core.signing.keys import active_key
from scopewright.core.signing.view import GeneratedKey, KeyAttempt, SigningView


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Time and randomness, which the core may not use by itself, and where the operator runs."""

    clock: Callable[[], datetime]
    generate_secret: Callable[[], str]
    make_key: Callable[[str], GeneratedKey]
    sign_at_once: bool = False
    """See `SigningView`."""
    local: bool = False
    """Whether this is `scopewright dev`: identity providers may be on loopback."""
    developer_login: bool = False
    """Whether the developer login stands in for every provider while no IdentityProvider is declared."""


@dataclass(frozen=True, slots=True)
class ReconcileProgress:
    """A reconciliation so far: its events, and the writes that failed.

    `attempt` is the credential or key of a failed attempt; `attempt_refused` means that it was certainly not stored.
    `last_unanswered` is when a write last ended without an answer: its outcome is unknown. It is at least the start of
    the term, because an earlier leader may have sent writes until then.
    """

    events: tuple[Event, ...] = ()
    failed_writes: tuple[FailedWrite, ...] = ()
    attempt: object = field(default=None, repr=False)
    attempt_refused: bool = False
    last_unanswered: datetime | None = None


class ViewBuilder:
    """Builds views of the cache as it is now."""

    def __init__(self, cache: Cache, config: Config, dependencies: Dependencies) -> None:
        self._cache = cache
        self._config = config
        self._dependencies = dependencies
        self.seal_key = b""

    def client_view(self, client: OAuthClient, progress: ReconcileProgress) -> ClientView:
        cache, managed, usage = self._cache, self._cache.managed, self._cache.managed.usage
        record_object, record = managed.client_record(client)
        secret = secret_of(client)
        requested = {a.resource_server for a in requested_access(client)}
        former = tuple(s for s in managed.of_client(client) if s.ref != secret)
        return ClientView(
            client=client,
            record=record,
            record_object=record_object,
            secret=managed.objects.get(secret),
            former_secrets=former,
            named_by_others=frozenset(s.ref for s in former if cache.relations.is_named_by_other(s.ref, client)),
            in_cycle=frozenset(cache.relations.secrets_in_cycle(client)) if former else frozenset(),
            servers={key: managed.servers[key] for key in requested if key in managed.servers},
            seal_key=self.seal_key,
            config=self._config,
            now=self._dependencies.clock(),
            generate_secret=self._dependencies.generate_secret,
            generate_key_pair=lambda: client_pair(self._dependencies.make_key("ES256")),
            terminating=client.namespace in cache.terminating,
            service_account_uid=cache.service_account_uid(client),
            last_use=usage.of(record) if record and usage else {},
            signing=self._signing(self._dependencies.clock()) if client.spec.login else frozenset(),
            forbidden_keys=self._forbidden_keys() if client.spec.login else frozenset(),
            providers=frozenset(p.record.name for p in managed.providers.values())
            if client.spec.login
            else frozenset(),
            developer_login=self._dependencies.developer_login and not cache.declared[IdentityProvider.KIND],
            reporting_since=usage.since if usage else None,
            beyond_limits=cache.beyond_limits(ref_of(client)),
            events=progress.events,
            failed_writes=progress.failed_writes,
            attempt=progress.attempt if isinstance(progress.attempt, NewCredential) else None,
            attempt_refused=progress.attempt_refused,
            last_unanswered=progress.last_unanswered,
        )

    def server_view(self, server: ResourceServer, progress: ReconcileProgress) -> ServerView:
        managed, now = self._cache.managed, self._dependencies.clock()
        record_object, record = managed.server_record(server)
        return ServerView(
            server=server,
            record=record,
            record_object=record_object,
            grants=self._cache.relations.grants_on(ref_of(server)),
            namespaces=self._cache.namespaces,
            claims=managed.claims,
            hostname_claims=managed.hostname_claims,
            signing=self._signing(now),
            forbidden_keys=self._forbidden_keys(),
            config=self._config,
            now=now,
            beyond_limits=self._cache.beyond_limits(ref_of(server)),
            events=progress.events,
            failed_writes=progress.failed_writes,
        )

    def grant_view(self, grant: ScopeGrant, progress: ReconcileProgress) -> GrantView:
        server = Ref("ResourceServer", grant.namespace, grant.spec.resource_server)
        return GrantView(
            grant=grant,
            server=self._cache.get(ResourceServer, server.namespace, server.name),
            record=self._cache.managed.server_record(server)[1],
            clients=self._cache.relations.clients_requesting(server),
            namespaces=self._cache.namespaces,
            reads_labels=not self._config.watch_namespaces,
            now=self._dependencies.clock(),
            beyond_limits=self._cache.beyond_limits(ref_of(grant)),
            events=progress.events,
        )

    def signing_key_view(self, key: Ref, obj: Declared | None, progress: ReconcileProgress) -> SigningView:
        managed = self._cache.managed
        view = SigningView(
            name=key.name,
            key=obj if isinstance(obj, SigningKey) else None,
            keys=tuple(managed.keys.values()),
            jwks=None,
            config=self._config,
            now=self._dependencies.clock(),
            generate_key=self._dependencies.make_key,
            events=progress.events,
            failed_writes=progress.failed_writes,
            attempt=progress.attempt if isinstance(progress.attempt, KeyAttempt) else None,
            sign_at_once=self._dependencies.sign_at_once,
        )
        name = view.config_map
        jwks = managed.objects.get(Ref("ConfigMap", self._config.namespace, name)) if name else None
        return replace(view, jwks=jwks)

    def _signing(self, now: datetime) -> frozenset[str]:
        """Names of the SigningKeys with an active key, of an algorithm that the profile allows."""
        complete = (key.record for key in self._cache.managed.keys.values() if key.has_private_key)
        records = tuple(record for record in complete if allows(self._config.profile, record.algorithm))
        names = {r.signing_key for r in records}
        return frozenset(n for n in names if active_key(tuple(r for r in records if r.signing_key == n), now))

    def _forbidden_keys(self) -> frozenset[str]:
        """Names of the SigningKeys whose algorithm the profile does not allow."""
        keys, profile = self._cache.all(SigningKey), self._config.profile
        return frozenset(key.name for key in keys if not allows(profile, key.spec.jose_algorithm))
