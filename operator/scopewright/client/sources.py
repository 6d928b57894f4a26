"""Finds the credentials of a client where a Pod, a container or a shell has them. The first source that exists is used.

The order is in `find_credentials`. A source that exists and cannot be used is an error, and not skipped.
"""

import logging
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Final

from scopewright.client.clock import Clock
from scopewright.client.credentials import CredentialSource, MountedCredentials
from scopewright.client.errors import SecretError
from scopewright.client.files import is_directory, read_entry
from scopewright.client.given import CredentialValues
from scopewright.client.mounted import MountedSecret
from scopewright.client.option_names import OptionNames
from scopewright.origins import Hosts, host_names
from scopewright.variables import listed

logger = logging.getLogger("scopewright.client")

PREFIX: Final = "SCOPEWRIGHT_"
BINDING_ROOT_VARIABLE: Final = "SERVICE_BINDING_ROOT"  # Service Binding Specification, Workload Projection
STANDARD_MOUNT: Final = Path("/var/run/secrets/oauth")
_MAX_BINDINGS: Final = 1000
_ONE_CREDENTIAL: Final = ("CLIENT_SECRET", "PRIVATE_KEY", "SERVICE_ACCOUNT_TOKEN_FILE")
_OPTIONS: Final = ("resource", "allow_http")
_Found = tuple[CredentialSource, str]  # with its description for the log; a str instead says why there is none

ARGUMENT_NAMES: Final = {each.name: f"{each.name}=" for each in fields(CredentialValues)}


class Environment:
    """The environment variables of one client, which begin with `prefix`. They are read once."""

    def __init__(self, prefix: str = PREFIX) -> None:
        self.prefix = prefix
        self._variables = dict(os.environ)
        self.secret_dir = self._value("SECRET_DIR")
        self.resource = self._value("RESOURCE")

    @property
    def scope(self) -> str | None:
        """Space-delimited, as in a token request."""
        return " ".join(listed(self._value("SCOPE"))) or None

    @property
    def allow_http(self) -> Hosts:
        return host_names(self.name("ALLOW_HTTP"), listed(self._value("ALLOW_HTTP")))

    @property
    def values(self) -> CredentialValues:
        return CredentialValues(**{each: self._value(suffix) for each, suffix in _SUFFIXES.items()})

    def option_names(self, given: Collection[str]) -> OptionNames:
        """Without those that are `given` as arguments, which precede the variables."""
        return OptionNames({option: self.name(option.upper()) for option in _OPTIONS if option not in given})

    @property
    def binding_root(self) -> str | None:
        return self._variables.get(BINDING_ROOT_VARIABLE) or None

    @property
    def names(self) -> Mapping[str, str]:
        """The variables by the fields of `CredentialValues`."""
        return {each: self.name(suffix) for each, suffix in _SUFFIXES.items()}

    def name(self, suffix: str) -> str:
        return self.prefix + suffix

    def _value(self, suffix: str) -> str | None:
        return self._variables.get(self.name(suffix)) or None  # an empty variable is not set


_SUFFIXES: Final = {each: each.upper() for each in ARGUMENT_NAMES} | {
    "service_account_token": "SERVICE_ACCOUNT_TOKEN_FILE"
}


def find_credentials(environment: Environment, clock: Clock) -> CredentialSource:
    """The first source that exists. Logs which one it is. Raises `SecretError` if it cannot be used, or if none exists.

    Another prefix names a client of its own, so only its variables are used then.
    """
    looks = [_secret_dir, _variables]
    if environment.prefix == PREFIX:
        looks += [_service_binding, _standard_mount]
    tried = []
    for look in looks:
        found = look(environment, clock)
        if not isinstance(found, str):
            source, description = found
            logger.info("credentials are read from %s", description)
            return source
        tried.append(found)
    listed = "; ".join(f"({number}) {reason}" for number, reason in enumerate(tried, 1))
    raise SecretError(f"no credentials were found; pass the path of a mounted Secret, or provide one of: {listed}")


def _secret_dir(environment: Environment, clock: Clock) -> _Found | str:
    variable, path = environment.name("SECRET_DIR"), environment.secret_dir
    if path is None:
        return f"{variable}, the directory where the Secret of the OAuthClient is mounted: not set"
    if not is_directory(path):
        what = "is not a directory, or cannot be read; mount the Secret of the OAuthClient there"
        raise SecretError(f"{variable} is {path}, which {what}")
    token_file = environment.values.service_account_token or Path(path) / "token"
    return MountedSecret(path, service_account_token=token_file, clock=clock), f"{path}, which {variable} names"


def _variables(environment: Environment, clock: Clock) -> _Found | str:
    """The issuer and the file of the token have other uses too, so they alone are not a source."""
    values, names = environment.values, environment.names
    if values.client_id is values.client_secret is values.private_key is None:
        credentials = ", ".join(environment.name(suffix) for suffix in _ONE_CREDENTIAL)
        return f"{names['client_id']}, with {names['issuer']} and one of {credentials}: not set"
    return values.source(names, clock), f"{names['client_id']} and the variables beside it"


def _service_binding(environment: Environment, clock: Clock) -> _Found | str:
    root = environment.binding_root
    if root is None:
        return f"{BINDING_ROOT_VARIABLE}, the directory of service bindings: not set"
    if not is_directory(root):
        return f"{BINDING_ROOT_VARIABLE}: {root} is not a directory"
    bindings = [folder for folder in _folders(Path(root)) if _is_of_scopewright(folder)]
    if not bindings:
        return f"{BINDING_ROOT_VARIABLE}: no directory in {root} has an entry provider with the value scopewright"
    if len(bindings) > 1:
        raise SecretError(
            f"{BINDING_ROOT_VARIABLE} has several bindings whose provider is scopewright: "
            f"{', '.join(folder.name for folder in bindings)}; set {environment.name('SECRET_DIR')} to one of them"
        )
    return MountedSecret(bindings[0], clock=clock), f"{bindings[0]}, the service binding"


def _folders(root: Path) -> list[Path]:
    """Without those that may not be read. Raises `SecretError`."""
    try:
        return sorted(entry for entry in islice(root.iterdir(), _MAX_BINDINGS) if is_directory(entry))
    except OSError as error:
        raise SecretError(
            f"{BINDING_ROOT_VARIABLE} is {root}, which cannot be read: {error.strerror}; correct its permissions, or "
            "remove the variable"
        ) from None


def _is_of_scopewright(folder: Path) -> bool:
    try:
        return read_entry(folder / "provider") == "scopewright"
    except SecretError:
        return False


def _standard_mount(environment: Environment, clock: Clock) -> _Found | str:
    if not is_directory(STANDARD_MOUNT):
        return f"the Secret mounted at {STANDARD_MOUNT}: not a directory"
    return MountedSecret(STANDARD_MOUNT, clock=clock), str(STANDARD_MOUNT)


@dataclass(frozen=True, slots=True)
class ChosenSource:
    """A source with the hosts that may be called without TLS, and with the names of the options for errors."""

    source: CredentialSource
    allow_http: Collection[str]
    names: OptionNames

    def read(self, *, now: bool = False) -> MountedCredentials:
        return self.source.read(now=now)


def choose_source(
    path: str | os.PathLike[str] | CredentialSource | None,
    values: CredentialValues,
    allow_http: Collection[str],
    clock: Clock,
) -> ChosenSource:
    """The source that the arguments name, or the first one that exists. Then `allow_http` defaults to the hosts of
    `SCOPEWRIGHT_ALLOW_HTTP`. Raises ValueError for arguments that cannot be used together.
    """
    given = values.given(ARGUMENT_NAMES)
    if path is not None and given:
        raise ValueError(f"the path of a mounted Secret is given, and {given} too; pass one of both")
    if path is not None:
        names = path.names if isinstance(path, ChosenSource) else OptionNames()
        return ChosenSource(_at(path, clock), allow_http, names)
    if given:
        try:
            return ChosenSource(values.source(ARGUMENT_NAMES, clock), allow_http, OptionNames())
        except SecretError as error:
            raise ValueError(error.description) from None
    environment = Environment()
    source = find_credentials(environment, clock)
    if allow_http != ():
        return ChosenSource(source, allow_http, environment.option_names(("resource", "allow_http")))
    return ChosenSource(source, environment.allow_http, environment.option_names(("resource",)))


def _at(path: str | os.PathLike[str] | CredentialSource, clock: Clock) -> CredentialSource:
    if path == "":
        raise ValueError("the path of the mounted Secret is empty; omit it to use the environment")
    if isinstance(path, ChosenSource):
        return path.source
    if isinstance(path, str | os.PathLike):
        return MountedSecret(path, clock=clock)
    if not callable(getattr(path, "read", None)):
        raise TypeError(f"path takes the directory of a mounted Secret, not {type(path).__name__}")
    return path
