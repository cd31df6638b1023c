"""Grounding and merging of noisy answers about real documents: this project beside langextract.

    python -m bench.extraction [--seeds N] [--without-langextract]        (or `make bench-extraction`)

Both are given the same items for the same chunks. The documents are seven Brazilian court decisions with
gold entities, and the oracle of bench/extraction_oracle.py answers about them. langextract has a Python of
its own: the one that LANGEXTRACT_PYTHON names, or one that is made on the first run. Speeds are by CPU time,
of the fastest run. Takes ten minutes, most of them langextract's.
"""

import argparse
import json
import os
import platform
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from statistics import fmean
from typing import Any, TypeAlias

from bench import extraction_passes
from bench import langextract_environment as langextract
from bench.extraction_grounding import Answered, Score, answers, fastest_groundings, places, score
from bench.extraction_oracle import LENER_BR, GoldDocument, Kind, Noise, load_gold
from scripts.bootstrap import BootstrapError

RESULT = Path(__file__).parent / "results" / "extraction.json"
OURS = "vllm-flows"
SIZES = (1000, 5000)
"""Characters of a chunk."""
KINDS: tuple[Kind, ...] = ("verbatim", "normalized", "grouped", "typos", "mixed")
NUMBERS_KEPT = "typos, numbers kept"
NEAR_MISSES = "verbatim, near misses"
"""Made-up items may differ from what stands there by as little as one character."""

RUNS = 5
"""Of which the fastest of a seed counts; langextract, which takes fifty times as long, has one."""

MOST_SPANS, MOST_PASSES, MERGE_SECONDS = 4000, 3, 0.2

Row: TypeAlias = dict[str, Any]
Way: TypeAlias = Callable[[Sequence[extraction_passes.Looked]], list[set[langextract.Found]]]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bar:
    """One of the numbers that were promised."""

    name: str
    found: float
    bound: float
    at_most: bool = False

    @property
    def met(self) -> bool:
        """Whether it was kept."""
        return self.found <= self.bound if self.at_most else self.found >= self.bound

    def __str__(self) -> str:
        """Say so."""
        verdict = "met   " if self.met else "MISSED"
        return f"{verdict} {self.name}: {self.found:.3f} ({'<=' if self.at_most else '>='} {self.bound})"


def noises() -> dict[str, Noise]:
    """Return {name of a row: what the oracle does}."""
    named = {kind: Noise(kind=kind) for kind in KINDS}
    more = {
        NUMBERS_KEPT: Noise(kind="typos", typos_in_numbers=False),
        NEAR_MISSES: Noise(made_up_edits=0),
    }
    return {**named, **more}


def grounding_rows(documents: Sequence[GoldDocument], seeds: int, python: Path | None) -> list[Row]:
    """Measure every kind of noise at every size of chunks."""
    megabytes = sum(len(each.text.encode()) for each in documents) / 1e6
    rows: list[Row] = []
    for name, noise in noises().items():
        for size in SIZES:
            runs = [answers(documents, replace(noise, seed=seed), size) for seed in range(seeds)]
            for who, scored in grounded(runs, python).items():
                rows.append({"noise": name, "chunk": size, "who": who, **summary(scored, megabytes)})
                print_grounding(rows[-1])
    return rows


def grounded(runs: Sequence[list[Answered]], python: Path | None) -> dict[str, list[tuple[Score, float]]]:
    """Return {who: [(score, CPU seconds) of a run]}."""
    found: dict[str, list[tuple[Score, float]]] = {}
    for run in runs:
        ours, seconds = fastest_groundings(run, RUNS)
        found.setdefault(OURS, []).append((score(run, places(ours)), seconds))
        theirs = {} if python is None else langextract.align(python, [each.chunk for each in run])
        for who, one in theirs.items():
            found.setdefault(who, []).append((score(run, one.spans), one.cpu_seconds))
    return found


def summary(scored: Sequence[tuple[Score, float]], megabytes: float) -> Row:
    """Put the runs of a row together."""
    counts = {
        name: sum(getattr(one, name) for one, _ in scored)
        for name in ("items", "exact", "elsewhere", "made_up", "made_up_grounded")
    }
    total = Score(**counts)
    return {
        "exact_percent": total.exact_percent,
        "made_up_grounded_percent": total.made_up_percent,
        "mb_per_second": megabytes / min(seconds for _, seconds in scored),
        **counts,
        "exact_percent_by_seed": [one.exact_percent for one, _ in scored],
    }


def merging_rows(documents: Sequence[GoldDocument], seeds: int, python: Path | None) -> list[Row]:
    """Measure every setting with every way of merging."""
    rows: list[Row] = []
    for setting in extraction_passes.SETTINGS:
        runs = [extraction_passes.look(documents, setting, seed) for seed in range(seeds)]
        for who, way in merging_ways(setting.passes, python).items():
            found = [extraction_passes.quality(looked, way(looked)) for looked in runs]
            rows.append(
                {
                    **asdict(setting),
                    "who": who,
                    "f1": fmean(one.f1 for one in found),
                    "precision": fmean(one.precision for one in found),
                    "recall_of_entities": fmean(one.recall for one in found),
                    "f1_by_seed": [one.f1 for one in found],
                }
            )
            print_merging(rows[-1])
    return rows


def merging_ways(passes: int, python: Path | None) -> dict[str, Way]:
    """Return {name: way of merging}."""
    ways: dict[str, Way] = {"union": extraction_passes.union}
    if python is not None:
        ways["langextract, first pass wins"] = extraction_passes.first_wins(python)
    for votes in range(1, min(passes, 2) + 1):
        ways[f"{OURS}, votes >= {votes}"] = partial(extraction_passes.ours, passes=passes, min_votes=votes)
    return ways


def bars(grounding: Sequence[Row], merged: Sequence[Row], merge_seconds: float) -> list[Bar]:
    """Hold what was measured against what was promised."""
    own = {(row["noise"], row["chunk"]): row for row in grounding if row["who"] == OURS}
    promised = [("normalized", 99.5), ("grouped", 95.0), ("typos", 90.0), (NUMBERS_KEPT, 90.0)]
    found = [
        Bar(name=f"exact spans, {kind}, chunks of 1,000, in %", found=one, bound=bound)
        for kind, bound in promised
        for one in (own[kind, SIZES[0]]["exact_percent"],)
    ]
    known = [row for (name, _), row in own.items() if name != NEAR_MISSES]
    made_up = max(row["made_up_grounded_percent"] for row in known)
    slowest = min(row["mb_per_second"] for row in known)
    best = max(
        row["f1"]
        for row in merged
        if row["who"].startswith(OURS) and row["passes"] == MOST_PASSES and row["recall"] == 0.9  # noqa: PLR2004 - A6
    )
    return [
        *found,
        Bar(name="made-up items grounded, the most of any row, in %", found=made_up, bound=0.0, at_most=True),
        Bar(name="MB a second on one core, the slowest row", found=slowest, bound=1.0),
        Bar(name="F1 of three passes at a recall of 0.9", found=best, bound=0.97),
        Bar(
            name=f"seconds to merge {MOST_SPANS} spans x {MOST_PASSES}",
            found=merge_seconds,
            bound=MERGE_SECONDS,
            at_most=True,
        ),
    ]


def print_grounding(row: Row) -> None:
    """Print one row."""
    print(
        f"{row['noise']:22} {row['chunk']:6} {row['who']:24} {row['exact_percent']:8.2f} "
        f"{row['made_up_grounded_percent']:8.2f} {row['mb_per_second']:8.2f}",
        flush=True,
    )


def print_merging(row: Row) -> None:
    """Print one row."""
    print(
        f"{row['recall']:6} {row['overlap']:7} {row['passes']:6} {row['cut']:4} {row['who']:30} "
        f"{row['f1']:.3f} ({row['precision']:.3f}/{row['recall_of_entities']:.3f})",
        flush=True,
    )


def main() -> None:
    """Measure, print, and write bench/results/extraction.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=3, help="runs of each row, with noise of their own")
    parser.add_argument("--without-langextract", action="store_true")
    options = parser.parse_args()
    try:
        documents = load_gold()
        python = None if options.without_langextract else langextract.python_of_langextract()
    except FileNotFoundError:
        sys.exit(
            f"the gold documents are not there: {LENER_BR}; see bench/extraction_oracle.py for their form"
        )
    except BootstrapError as error:
        sys.exit(f"{error} Or leave it out: --without-langextract.")
    print(f"{'noise':22} {'chunk':>6} {'':24} {'exact %':>8} {'made up':>8} {'MB/s':>8}")
    grounding = grounding_rows(documents, options.seeds, python)
    print(f"\n{'recall':6} {'overlap':>7} {'passes':>6} {'cut':>4} {'':30} F1 (precision/recall)")
    merged = merging_rows(documents, options.seeds, python)
    seconds = extraction_passes.seconds_to_merge(MOST_SPANS, MOST_PASSES)
    judged = bars(grounding, merged, seconds)
    print("", *judged, sep="\n")
    result = {
        "about": "spans found again and passes merged, in answers of an oracle with known noise",
        "command": "make bench-extraction",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "load_after": os.getloadavg()[0],
        "python": platform.python_version(),
        "versions": {
            "rapidfuzz": version("rapidfuzz"),
            "semantic-text-splitter": version("semantic-text-splitter"),
            "langextract": None if python is None else langextract.version_of(python),
        },
        "documents": len(documents),
        "characters": sum(len(each.text) for each in documents),
        "entities": sum(len(each.entities) for each in documents),
        "seeds": options.seeds,
        "bars": [{**asdict(bar), "met": bar.met} for bar in judged],
        "merge_seconds": seconds,
        "grounding": grounding,
        "merging": merged,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
