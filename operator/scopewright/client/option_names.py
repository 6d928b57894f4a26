"""How the options of a client are set, for errors: as arguments of Python, or as environment variables."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class OptionNames:
    """`variables` are the environment variables that set options. Any other option is an argument."""

    variables: Mapping[str, str] = field(default_factory=dict)

    def advice(self, option: str, value: str = "") -> str:
        """What to set: `pass resource= with the audience`, or `set SCOPEWRIGHT_RESOURCE to the audience`."""
        variable = self.variables.get(option)
        if variable is None:
            return f"pass {option}= with {value}" if value else f"pass {option}="
        return f"set {variable} to {value}" if value else f"set {variable}"
