"""`python -m bench.token_rows FILE`: the figures of `tokens` as the rows of docs/performance.md."""

import json
import sys
from pathlib import Path
from typing import Any, Final

_BUDGETS: Final = {"es256": 1.8, "private-key-jwt": 2.0, "service-account": 2.0, "introspection": 2.0}
"""CPU time of a response over that of its floor."""


def main() -> None:
    figures: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text())
    print("| case | a second | CPU µs | floor µs | ratio | budget |\n| --- | --- | --- | --- | --- | --- |")
    for name, case in figures["cases"].items():
        if "floor_us" in case:
            ratio, budget = f"{case['cpu_over_floor']:.1f}", _BUDGETS.get(name, "")
            times = f"{case['cpu_us']:.0f} | {case['floor_us']:.0f}"
            print(f"| `{name}` | {case['per_second']:,.0f} | {times} | {ratio} | {budget} |")
    print("\n| server | a second | CPU µs | p99 |\n| --- | --- | --- | --- |")
    servers = [case for n, case in enumerate(figures["cases"].values()) if not n or not case["is_issuer"]]
    for server in (*servers, *(figures["floors"][floor] for floor in ("es256", "fixed") if floor in figures["floors"])):
        about = server["about"].replace("ES256, Basic", "Scopewright")
        row = f"| {about} | {server['per_second']:,.0f} | {server['cpu_us']:.0f} | {server['p99_ms']:.1f} ms |"
        print(row)


if __name__ == "__main__":
    main()
