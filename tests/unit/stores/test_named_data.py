"""Secrets and ConfigMaps in a directory: those that an IdentityProvider names are read, all others are ignored."""

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from scopewright.core.objects import Desired, Ref, digest
from scopewright.manifests.load import load
from scopewright.stores.directory.declared import ManifestChange
from scopewright.stores.directory.manifest_follower import ManifestFollower
from scopewright.stores.directory.store import DirectoryStore

PROVIDER = """\
apiVersion: scopewright.dev/v1alpha1
kind: IdentityProvider
metadata: {name: company, namespace: scopewright-system}
spec:
  oidc:
    issuerURL: https://login.example.com
    clientID: scopewright
    clientAuthentication: {secretRef: {name: company-oidc}}
    caCertificateRef: {name: company-ca}
"""
SECRET = """\
apiVersion: v1
kind: Secret
metadata: {name: company-oidc, namespace: scopewright-system}
type: scopewright.dev/identity-provider
stringData:
  client_secret: s3cret
"""
CA = """\
apiVersion: v1
kind: ConfigMap
metadata: {name: company-ca, namespace: scopewright-system}
data: {ca.crt: PEM}
"""
SECRET_REF = Ref("Secret", "scopewright-system", "company-oidc")
CA_REF = Ref("ConfigMap", "scopewright-system", "company-ca")


class Directory:
    """A directory of manifests, its store, and a follower of it."""

    def __init__(self, root: Path) -> None:
        self.dir = root / "manifests"
        self.dir.mkdir()
        self.store = DirectoryStore.open(root / "state", "http://127.0.0.1:8080")
        self._changes: AsyncIterator[ManifestChange] = ManifestFollower(self.store.declared).follow(self.dir, 0.05)

    def put(self, name: str, text: str) -> None:
        (self.dir / ".spare").write_text(text)
        (self.dir / ".spare").replace(self.dir / name)

    async def next(self) -> ManifestChange:
        return await asyncio.wait_for(anext(self._changes), 5)

    async def entries(self, ref: Ref = SECRET_REF) -> dict[str, bytes] | None:
        found = await self.store.read(ref)
        return dict(found[1]) if found else None


@pytest.fixture
def directory(tmp_path: Path) -> Directory:
    return Directory(tmp_path)


async def test_named_objects_are_read_from_the_manifests(directory: Directory) -> None:
    directory.put("a.yaml", f"{PROVIDER}---\n{SECRET}---\n{CA}")
    change = await directory.next()
    assert change.named == {SECRET_REF, CA_REF}
    assert change.problems == ()
    assert [ref.kind for ref in change.added_or_changed] == ["IdentityProvider"]
    found = await directory.store.read(SECRET_REF)
    assert found is not None
    existing, entries = found
    assert dict(entries) == {"client_secret": b"s3cret"}
    assert existing.type == "scopewright.dev/identity-provider"
    assert existing.entries == {"client_secret": digest(b"s3cret")}
    assert existing.uid
    assert await directory.entries(CA_REF) == {"ca.crt": b"PEM"}


async def test_objects_that_no_identity_provider_names_are_not_read(directory: Directory) -> None:
    directory.put("a.yaml", f"{PROVIDER}---\n{SECRET.replace('company-oidc', 'other')}---\n{CA}")
    assert (await directory.next()).named == {CA_REF}
    assert await directory.entries(Ref("Secret", "scopewright-system", "other")) is None
    assert await directory.entries() is None


async def test_secret_of_another_namespace_is_not_read(directory: Directory) -> None:
    directory.put("a.yaml", PROVIDER + "---\n" + SECRET.replace("scopewright-system", "hr"))
    await directory.next()
    assert await directory.entries() is None
    assert await directory.entries(Ref("Secret", "hr", "company-oidc")) is None


@pytest.mark.parametrize("type_", ["Opaque", "scopewright.dev/signing-key-record", "kubernetes.io/tls"])
async def test_entries_of_a_secret_of_another_type_are_not_read(directory: Directory, type_: str) -> None:
    """The operator refuses it by its type."""
    directory.put("a.yaml", PROVIDER + "---\n" + SECRET.replace("scopewright.dev/identity-provider", type_))
    assert (await directory.next()).problems == ()
    found = await directory.store.read(SECRET_REF)
    assert found is not None
    assert (found[0].type, dict(found[1])) == (type_, {})


async def test_secret_without_a_type_is_opaque(directory: Directory) -> None:
    directory.put("a.yaml", PROVIDER + "---\n" + SECRET.replace("type: scopewright.dev/identity-provider\n", ""))
    await directory.next()
    found = await directory.store.read(SECRET_REF)
    assert found is not None
    assert (found[0].type, dict(found[1])) == ("Opaque", {})


async def test_object_of_the_state_is_not_hidden_by_a_manifest(directory: Directory) -> None:
    """A manifest cannot replace a record or key of the operator."""
    await directory.store.write(Desired(ref=SECRET_REF, entries={"own": b"1"}, type="servicebinding.io/oauth2"))
    directory.put("a.yaml", f"{PROVIDER}---\n{SECRET}")
    await directory.next()
    assert await directory.entries() == {"own": b"1"}


async def test_change_of_a_named_object_is_reported_and_changes_its_version(directory: Directory) -> None:
    directory.put("a.yaml", PROVIDER)
    directory.put("b.yaml", SECRET)
    await directory.next()
    before = await directory.store.read(SECRET_REF)
    directory.put("b.yaml", SECRET.replace("s3cret", "an0ther"))
    change = await directory.next()
    assert change.named == {SECRET_REF}
    assert not change.added_or_changed
    after = await directory.store.read(SECRET_REF)
    assert before is not None
    assert after is not None
    assert after[0].uid == before[0].uid
    assert int(after[0].resource_version) > int(before[0].resource_version)
    (directory.dir / "b.yaml").unlink()
    assert (await directory.next()).named == {SECRET_REF}
    assert await directory.entries() is None


async def test_secret_that_is_named_later_is_reported_then(directory: Directory) -> None:
    directory.put("b.yaml", SECRET)
    assert (await directory.next()).named == frozenset()
    directory.put("a.yaml", PROVIDER)
    assert (await directory.next()).named == {SECRET_REF}


@pytest.mark.parametrize("text", ["stringData: [", SECRET.replace("client_secret: s3cret", "client_secret: 1234")])
async def test_last_valid_version_counts_while_the_manifest_is_broken(directory: Directory, text: str) -> None:
    directory.put("a.yaml", PROVIDER)
    directory.put("b.yaml", SECRET)
    await directory.next()
    directory.put("b.yaml", text)
    change = await directory.next()
    assert change.named == frozenset()
    assert [Path(problem.file).name for problem in change.problems] == ["b.yaml"]
    assert await directory.entries() == {"client_secret": b"s3cret"}


async def test_named_objects_count_while_the_identity_provider_is_broken(directory: Directory) -> None:
    directory.put("a.yaml", PROVIDER)
    directory.put("b.yaml", SECRET)
    await directory.next()
    directory.put("a.yaml", PROVIDER.replace("clientID", "clientId"))
    assert (await directory.next()).named == frozenset()
    assert await directory.entries() == {"client_secret": b"s3cret"}


async def test_secrets_are_not_written_to_the_state(directory: Directory, tmp_path: Path) -> None:
    directory.put("a.yaml", f"{PROVIDER}---\n{SECRET}")
    change = await directory.next()
    files = [path for path in (tmp_path / "state").rglob("*") if path.is_file()]
    assert files
    assert [path for path in files if b"s3cret" in path.read_bytes()] == []
    assert "s3cret" not in repr(change)


_SECRET_VALUE = "hunter2-of-the-provider"

BROKEN = {
    "stringData:\n  client_secret: 12345678\n": "stringData.client_secret must be text",
    "data:\n  client_secret: hunter2-of-the-provider\n": "data.client_secret is not base64",
    "stringData: hunter2-of-the-provider\n": "stringData must be a mapping",
    "stringData:\n  hunter2 of the provider: a\n": "stringData has an entry whose name is not valid",
    "stringData:\n  ..data: a\n": "stringData has an entry whose name is not valid",
    "stringdata:\n  client_secret: hunter2-of-the-provider\n": "unknown field stringdata of a Secret",
    "stringData:\n  client_secret: !!binary hunter2-of-the-provider\n": "the entries of Secret",
    "stringData:\n  client_secret: [hunter2-of-the-provider]\n": "stringData.client_secret must be text",
    "stringData:\n  a: hunter2-of-the-provider\n  a: hunter2-of-the-provider\n": "the entries of Secret",
    f"stringData:\n  a: {'hunter2-of-the-provider' * 50_000}\n": "the entries have more than 1 MiB",
}


@pytest.mark.parametrize(("entries", "message"), BROKEN.items(), ids=range(len(BROKEN)))
async def test_broken_secret_is_reported_with_a_fix_and_without_its_value(
    directory: Directory, entries: str, message: str
) -> None:
    directory.put("a.yaml", PROVIDER)
    directory.put("b.yaml", SECRET.partition("stringData")[0] + entries)
    (problem,) = (await directory.next()).problems
    assert problem.message.startswith(message)
    assert problem.fix
    assert problem.line in range(1, 8)
    assert "hunter2" not in str(problem)
    assert "1234" not in str(problem)
    assert await directory.entries() is None


async def test_second_declaration_of_a_named_object_is_reported(directory: Directory) -> None:
    directory.put("a.yaml", PROVIDER)
    directory.put("b.yaml", SECRET)
    directory.put("c.yaml", SECRET.replace("s3cret", "an0ther"))
    (problem,) = (await directory.next()).problems
    assert "already declared at" in problem.message
    assert Path(problem.file).name == "c.yaml"
    assert await directory.entries() == {"client_secret": b"s3cret"}


@pytest.mark.parametrize(
    "text",
    [
        SECRET.replace("type: scopewright.dev/identity-provider", "type: Opaque").replace(
            "s3cret", "!!binary czNjcmV0"
        ),
        CA.replace("PEM", "[PEM, 1]"),
        CA.replace("name: company-ca", "name: 1"),
        "apiVersion: v1\nkind: SecretList\nitems:\n- {metadata: {name: a}, data: {a: b}}\n",
        "apiVersion: v1\nkind: ConfigMap\nmetadata: [a]\ndata: {a: 1, a: 2}\n",
        "apiVersion: v1\nkind: [Secret]\nmetadata: {name: a}\n",
    ],
)
def test_broken_object_of_another_program_is_ignored(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.yaml").write_text(f"{PROVIDER}---\n{text}")
    seen = load(tmp_path)
    assert (len(seen.objects), seen.problems, seen.incomplete) == (1, (), frozenset())


def test_entries_may_be_text_or_base64_and_text_wins(tmp_path: Path) -> None:
    encoded = base64.b64encode(b"\xff" * 60).decode()
    lines = (
        f"data:\n  a: {encoded}\n  b: |\n    {encoded[:40]}\n    {encoded[40:]}\n  c: {encoded}\nstringData: {{c: ü}}\n"
    )
    (tmp_path / "a.yaml").write_text(SECRET.partition("stringData")[0] + lines)
    entries = load(tmp_path).data[SECRET_REF].manifest.entries
    assert entries == {"a": b"\xff" * 60, "b": b"\xff" * 60, "c": "ü".encode()}


def test_binary_data_of_a_config_map_is_base64(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(CA.replace("\ndata:", "\nbinaryData: {b: /w==}\ndata:"))
    assert load(tmp_path).data[CA_REF].manifest.entries == {"b": b"\xff", "ca.crt": b"PEM"}


def test_items_of_a_list_and_merged_entries_are_read(tmp_path: Path) -> None:
    merged = "- <<: &base {apiVersion: v1, kind: Secret, type: scopewright.dev/identity-provider, stringData: {a: b}}\n"
    named = "  metadata: {name: company-oidc, namespace: scopewright-system}\n"
    (tmp_path / "a.yaml").write_text(f"apiVersion: v1\nkind: List\nitems:\n{merged}{named}")
    assert load(tmp_path).data[SECRET_REF].manifest.entries == {"a": b"b"}


def test_aliases_in_data_are_bounded_and_cost_other_files_nothing(tmp_path: Path) -> None:
    levels = "".join(f"  l{n}: &l{n} [{', '.join([f'*l{n - 1}'] * 10)}]\n" for n in range(1, 9))
    bomb = CA.replace("data: {ca.crt: PEM}", f"data:\n  l0: &l0 [{', '.join('x' * 10)}]\n{levels}")
    (tmp_path / "a.yaml").write_text(bomb)
    aliases = PROVIDER.replace("company, n", "&name company, n").replace("  oidc:", "  displayName: *name\n  oidc:")
    (tmp_path / "b.yaml").write_text(aliases)
    seen = load(tmp_path)
    assert seen.data[CA_REF].manifest.problem is not None
    assert (len(seen.objects), seen.problems) == (1, ())
