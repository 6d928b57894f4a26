"""Random histories of IdentityProviders, with failing writes, lost answers and restarts: who has a domain or groups."""

import contextlib
import itertools
from random import Random
from typing import Any, Final

import pytest

from scopewright.controller.resync import orphaned_keys
from scopewright.core.config import Config
from scopewright.core.failures import Unavailable
from scopewright.core.objects import Ref
from scopewright.core.providers.record import conflict
from tests.harness.operator import OperatorHarness
from tests.harness.samples import ISSUER, NAMESPACE

NAMES: Final = "pqrs"
GROUPS: Final = ("a-*", "a-x", "b-*", "b-y", "*", "A-*")
DOMAINS: Final = ("", "https://one.example", "https://two.example")
STEPS: Final = 40


class History:
    """What users, the network and the kubelet do."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.harness = OperatorHarness(Config(issuer=ISSUER))
        self.domains: dict[str, str] = {}

    def step(self) -> None:
        harness, name, chance = self.harness, self.random.choice(NAMES), self.random.random()
        ref = Ref("IdentityProvider", NAMESPACE, name)
        exists = ref in harness.store.declared
        if chance < 0.45:
            self.apply(name, exists=exists)
        elif chance < 0.6 and exists:
            harness.delete(ref)
        elif chance < 0.75:
            harness.store.fail(Unavailable("no answer"), point=self.random.choice(("before", "after")))
        elif chance < 0.85:
            harness.restart()
        else:
            self.lose_an_answer()
            harness.store.failures.clear()
            self.settle()

    def lose_an_answer(self) -> None:
        """Reconcile all in some order. The answer to the first write is lost: the next plan does not know of it."""
        harness = self.harness
        harness.resync()
        harness.store.fail(Unavailable("no answer"), point="after")
        for ref in self.random.sample(keys := sorted(harness.cache.declared["IdentityProvider"]), len(keys)):
            harness.reconcile(ref)

    def apply(self, name: str, *, exists: bool) -> None:
        """The domain of an object is immutable, its groups are not."""
        if not exists:
            self.domains[name] = self.random.choice(DOMAINS)
        allow = self.random.sample(GROUPS, self.random.choice((1, 2)))
        mappings = {"groups": {"claim": "groups", "allow": allow}}
        spec: dict[str, Any] = {"claimMappings": mappings, "subjectDomain": self.domains[name]}
        self.harness.apply_provider(name, **spec)

    def settle(self) -> None:
        """With the deletions that a resync of the operator finds."""
        self.harness.settle()
        orphans = orphaned_keys(self.harness.cache)
        self.harness.cache.deleted |= orphans
        for key in orphans:
            self.harness.reconcile(key)
        self.check_owners()

    def check_owners(self) -> None:
        records = filter(None, map(self.harness.provider_record, NAMES))
        for one, other in itertools.combinations(records, 2):
            assert conflict(one, other) is None, f"{one.name} and {other.name}"


@pytest.mark.parametrize("seed", range(30))
def test_no_history_leaves_two_owners_or_a_record_without_its_object(seed: int) -> None:
    history = History(seed)
    for _ in range(STEPS):
        with contextlib.suppress(Unavailable):
            history.step()
    harness = history.harness
    harness.store.failures.clear()
    for _ in range(4):
        history.settle()
    records = {name: harness.provider_record(name) for name in NAMES}
    for name, record in records.items():
        ref = Ref("IdentityProvider", NAMESPACE, name)
        declared = harness.store.declared.get(ref)
        if record:
            assert declared, f"the record of {name} has no object"
            assert record.uid == declared["metadata"]["uid"], f"{name} has the record of an earlier object"
        elif declared:
            assert harness.condition(ref) in ("False GroupsOverlap", "False SubjectDomainConflict")
