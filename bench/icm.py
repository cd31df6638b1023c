"""What a full search costs a server: requests, tokens computed and rounds, for each order of contexts.

    python -m bench.icm CLAIMS TOKENIZER        (or `make bench-icm`); about 15 minutes on two cores

Searches of 64, 128 and 256 TruthfulQA claims over 1,500 iterations, in process and without HTTP, against a
made-up model behind a model of a server's prefix cache (icm_model.py, prefix_cache.py). All ways but
"sequential" find the same labels, so that their costs can be compared; what is found says nothing about any
model.
"""

import argparse
import json
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULT = Path(__file__).parent / "results" / "icm.json"
SIZES = (64, 128, 256)
ITERATIONS = 1500
LOOKAHEAD = 4
WAYS = ("as-the-reference", "reference", "tree", "tree-tail")
AHEAD = f"tree, look-ahead {LOOKAHEAD}"
SEQUENTIAL = "tree, sequential"
SMALL, LARGE = "65536", "262144"

Costs = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A ratio that is to be reached, and the one that was."""

    what: str
    limit: float
    """At most."""
    found: float

    @property
    def is_met(self) -> bool:
        """Whether it was reached."""
        return self.found <= self.limit


def measured(claims: Path, tokenizer: Path, size: int, iterations: int) -> dict[str, Costs]:
    """Run every way in a process of its own: {way: what it cost}."""
    found: dict[str, Costs] = {}
    ways: dict[str, Sequence[str]] = {way: (way,) for way in WAYS}
    ways[AHEAD] = ("tree", "--lookahead", str(LOOKAHEAD))
    ways[SEQUENTIAL] = ("tree", "--sequential")
    for name, arguments in ways.items():
        command = [sys.executable, "-m", "bench.icm_run", str(claims), str(tokenizer), str(size), *arguments]
        run = subprocess.run(  # noqa: S603 - our own program
            [*command, "--iterations", str(iterations)], check=True, stdout=subprocess.PIPE, text=True
        )
        found[name] = json.loads(run.stdout)
        print(line(size, name, found[name]), flush=True)
    return found


def line(size: int, name: str, costs: Costs) -> str:
    """Say what one way cost."""
    computed = costs["tokens_computed"]
    return (
        f"{size:5} {name:22} {costs['requests']:9,} {costs['prompts']:9,} {costs['tokens_sent'] / 1e6:9.1f} "
        f"{computed[SMALL] / 1e6:9.2f} {computed[LARGE] / 1e6:9.2f} {costs['rounds'] or '':>7} "
        f"{costs['host_seconds']:8.1f} {costs['peak_megabytes']:8.0f}"
    )


def targets(found: Mapping[str, Costs]) -> list[Target]:
    """Compare the largest search with what was to be reached."""
    names = (WAYS[0], "tree", "tree-tail", AHEAD, SEQUENTIAL)
    reference, tree, tail, ahead, sequential = (found[name] for name in names)
    decided = sequential["decisions"]["accepted"] + sequential["decisions"]["rejected"]

    def ratio(one: Costs, other: Costs, capacity: str, other_capacity: str | None = None) -> float:
        tokens = other["tokens_computed"]
        return one["tokens_computed"][capacity] / tokens[other_capacity or capacity]

    return [
        Target(
            what="tokens computed, tree by the reference's, a cache of 64K",
            limit=1 / 15,
            found=ratio(tree, reference, SMALL),
        ),
        Target(
            what="tokens computed, tree at 64K by the reference's without a cache",
            limit=1 / 30,
            found=ratio(tree, reference, SMALL, "0"),
        ),
        Target(
            what="tokens computed, tree-tail by tree, a cache of 256K",
            limit=0.85,
            found=ratio(tail, tree, LARGE),
        ),
        Target(
            what=f"rounds, look-ahead {LOOKAHEAD} by none", limit=0.5, found=ahead["rounds"] / tree["rounds"]
        ),
        Target(
            what="HTTP requests, tree in lists of 32 by the reference's",
            limit=1 / 20,
            found=tree["requests"] / reference["requests"],
        ),
        Target(
            what="tokens computed, sequential by tree, a cache of 64K",
            limit=1 / 4,
            found=ratio(sequential, tree, SMALL),
        ),
        Target(
            what="sequential decisions that a full evaluation would not have taken",
            limit=0.01,
            found=sequential["not_as_in_full"] / decided,
        ),
        Target(what="host seconds of the tree search", limit=120, found=tree["host_seconds"]),
        Target(what="peak megabytes of the tree search", limit=400, found=tree["peak_megabytes"]),
    ]


def main() -> int:
    """Measure, print, write bench/results/icm.json; 1 if the ways found different labels."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", type=Path)
    parser.add_argument("tokenizer", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--iterations", type=int, default=ITERATIONS)
    options = parser.parse_args()
    print(
        f"{'N':>5} {'way':22} {'requests':>9} {'prompts':>9} {'M sent':>9} {'M at 64K':>9} {'at 256K':>9} "
        f"{'rounds':>7} {'host s':>8} {'MB':>8}"
    )
    found = {
        size: measured(options.claims, options.tokenizer, size, options.iterations) for size in options.sizes
    }
    is_same = all(
        len({costs["labels"] for name, costs in ways.items() if name != SEQUENTIAL}) == 1
        for ways in found.values()
    )
    reached = targets(found[max(found)])
    for one in reached:
        print(f"{'met   ' if one.is_met else 'MISSED'} {one.what}: {one.found:.4g} (at most {one.limit:.4g})")
    print("all exact ways found the same labels" if is_same else "THE WAYS FOUND DIFFERENT LABELS")
    result = {
        "about": "full ICM searches against a made-up model and a model of a server's prefix cache",
        "command": "make bench-icm",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "iterations": options.iterations,
        "same_labels": is_same,
        "targets": [
            {"what": one.what, "at_most": one.limit, "found": one.found, "met": one.is_met} for one in reached
        ],
        "searches": {
            str(size): {name: {**costs, "labels": None} for name, costs in ways.items()}
            for size, ways in found.items()
        },
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0 if is_same else 1


if __name__ == "__main__":
    sys.exit(main())
