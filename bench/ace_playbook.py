"""A large playbook: how long it takes to read, show, cut to a budget and rid of duplicates.

    python -m bench.ace_playbook [--tokenizer FILE]        (or `make bench-ace-playbook`)

The lessons are made up, a tenth of them says again what an older one says, and it is known which. Every run
starts with nothing remembered. Seconds are the median of the runs; what a busy machine adds is in them, so
CPU seconds stand beside. The budget is counted with the tokenizer of a model, where one is named, else in
words.
"""

import argparse
import asyncio
import importlib
import importlib.util
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any, TypeVar, cast

from tokenizers import Tokenizer

from backends.registry import NotInstalledError
from bench.ace_lessons import MadeUp, long_and_similar, made_up
from bench.extraction import Bar
from bench.result_file import machine, write_result
from tasks.ace.claims import claims_of, stem
from tasks.ace.embeddings import LocalEmbedder
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse, to_text
from tasks.ace.refining import Refined, refine
from tasks.ace.remembering import Remembering
from tasks.ace.rendering import append_only
from tasks.ace.similarity import Embedded, Lexical
from tasks.tokens.counting import LocalCounter

RESULT = Path(__file__).parent / "results" / "ace_playbook.json"
PRUNING = "tasks.ace.pruning"
BULLETS = 2_000
RUNS = 5
KEPT = 0.8
"""Of the tokens of the playbook; the budget that it is cut to."""
LIMIT_SECONDS = 2.0
IN_LIMIT = ("load", "render", "budget", "de-duplicate")

Row = dict[str, Any]
T = TypeVar("T")


@dataclass(frozen=True, kw_only=True, slots=True)
class Quality:
    """What became of the lessons that are there twice, and of those that are not."""

    twins: int
    merged_twins: int
    """Those that are in one group with what they repeat."""
    wrongly_merged: int
    """Bullets in a group with another lesson."""


def quality(made: MadeUp, refined: Refined) -> Quality:
    """Compare what was merged with what is known."""

    def lesson_of(bullet_id: str) -> str:
        return made.twin_of.get(bullet_id, bullet_id)

    groups = [[one for one, _ in change.replaced] for change in refined.changes if not change.refused]
    wrong = sum(lesson_of(one) != lesson_of(group[0]) for group in groups for one in group)
    together = {one: group for group in groups for one in group}
    found = sum(older in together.get(twin, []) for twin, older in made.twin_of.items())
    return Quality(twins=len(made.twin_of), merged_twins=found, wrongly_merged=wrong)


def timed(work: Callable[[], T], runs: int, *, forget: bool = True) -> tuple[T, Row]:
    """Do some work several times; return its last result and a row with its seconds."""
    walls: list[float] = []
    cpus: list[float] = []
    done: list[T] = []
    for _ in range(runs):
        if forget:
            claims_of.cache_clear()
            stem.cache_clear()
        wall, cpu = time.perf_counter(), time.process_time()
        done = [work()]
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    row = {"seconds": statistics.median(walls), "cpu_seconds": statistics.median(cpus), "runs": walls}
    return done[0], row


class Words:
    """Counts words, where no tokenizer is named."""

    async def count_text(self, text: str) -> int:
        """Count the words of a text."""
        return len(text.split())


def budget(playbook: Playbook, tokenizer: Path | None) -> tuple[Playbook, int, int] | None:
    """Count all lines and cut the playbook to a budget: (what is left, tokens before, and after).

    None where `tasks.ace.pruning`, which does it, is not there.
    """
    if importlib.util.find_spec(PRUNING) is None:
        return None
    pruning = cast("Any", importlib.import_module(PRUNING))
    counter = LocalCounter(Tokenizer.from_file(str(tokenizer))) if tokenizer else Words()
    tokens: dict[str, int] = asyncio.run(pruning.PlaybookTokens(counter.count_text).of_bullets(playbook))
    before = sum(tokens.values())
    left, _ = pruning.prune(playbook, tokens, max_tokens=round(before * KEPT), step=1)
    return left, before, sum(tokens[one] for one in left.bullets)


def measure(made: MadeUp, runs: int, tokenizer: Path | None, *, embeddings: bool) -> dict[str, Row]:
    """Return {step: its row}; without a row for what is not there."""
    rows: dict[str, Row] = {}
    playbook, rows["load"] = timed(lambda: parse(made.text).playbook, runs)
    shown, rows["render"] = timed(lambda: append_only(parse_again(playbook)), runs)
    rows["render"]["characters"] = len(shown)
    _, rows["write"] = timed(lambda: to_text(playbook), runs)
    cut, row = timed(lambda: budget(playbook, tokenizer), runs)
    if cut:
        rows["budget"] = row | {"tokens": cut[1], "tokens_left": cut[2], "bullets_left": len(cut[0])}
    refined, row = timed(lambda: refine(parse_again(playbook), Lexical()), runs)
    rows["de-duplicate"] = row | asdict(quality(made, refined)) | {"bullets_left": len(refined.playbook)}
    rows |= measure_long(len(playbook), runs)
    if embeddings:
        embedder, rows["load embeddings"] = timed(LocalEmbedder, 1)
        refined, row = timed(lambda: refine(parse_again(playbook), Embedded(embedder=embedder)), runs)
        left = {"bullets_left": len(refined.playbook)}
        rows["de-duplicate, embeddings"] = row | asdict(quality(made, refined)) | left
    return rows


def measure_long(bullets: int, runs: int) -> dict[str, Row]:
    """Rid as many long, similar lessons of duplicates; and again, when there is one more."""
    playbook = parse(long_and_similar(bullets)).playbook
    refined, first = timed(lambda: refine(parse_again(playbook), Lexical()), runs)
    left = {"bullets_left": len(refined.playbook)}
    remembering = Remembering(Lexical())
    refine(playbook, remembering)
    grown = [playbook.add("others", f"One more lesson, number {number}.")[0] for number in range(runs)]
    waiting = iter(grown)
    _, again = timed(lambda: refine(next(waiting), remembering), runs, forget=False)
    return {"de-duplicate, long": first | left, "de-duplicate, long, one new": again}


def parse_again(playbook: Playbook) -> Playbook:
    """Return a playbook that has nothing looked up yet."""
    return Playbook(sections=playbook.sections, counts=playbook.counts, next_number=playbook.next_number)


def bars(rows: dict[str, Row]) -> list[Bar]:
    """Hold what was measured against what was promised."""
    steps = [step for step in IN_LIMIT if step in rows]
    seconds = sum(rows[step]["seconds"] for step in steps)
    return [Bar(name=f"seconds to {', '.join(steps)}", found=seconds, bound=LIMIT_SECONDS, at_most=True)]


def print_rows(rows: dict[str, Row]) -> None:
    """Print the rows."""
    print(f"{'':26} {'seconds':>8} {'CPU s':>7} {'left':>6} {'twins merged':>14} {'others merged':>14}")
    for step, row in rows.items():
        twins = f"{row['merged_twins']} of {row['twins']}" if "twins" in row else ""
        print(
            f"{step:26} {row['seconds']:8.3f} {row['cpu_seconds']:7.3f} {row.get('bullets_left', ''):>6} "
            f"{twins:>14} {row.get('wrongly_merged', ''):>14}"
        )


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write bench/results/ace_playbook.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--bullets", type=int, default=BULLETS)
    parser.add_argument("--runs", type=int, default=RUNS)
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer.json, to count the budget with")
    parser.add_argument("--embeddings", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--result", type=Path, default=RESULT)
    options = parser.parse_args(arguments)
    made = made_up(options.bullets)
    load = os.getloadavg()[0]
    try:
        rows = measure(made, options.runs, options.tokenizer, embeddings=options.embeddings)
    except NotInstalledError as error:
        sys.exit(f"{error}, or leave them out: --no-embeddings")
    print_rows(rows)
    if "budget" not in rows:
        print(f"the budget is not measured: {PRUNING} is not there")
    judged = bars(rows)
    print("", *judged, sep="\n")
    result = {
        "about": f"{options.bullets} made-up lessons in 7 sections, a tenth of which says an older one again",
        "command": "make bench-ace-playbook",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load_before_and_after": [load, os.getloadavg()[0]],
        "python": platform.python_version(),
        "versions": {
            "numpy": version("numpy"),
            "wordllama": version("wordllama") if options.embeddings else None,
        },
        "budget_counted_in": "tokens" if options.tokenizer else "words",
        "bars": [{**asdict(bar), "met": bar.met} for bar in judged],
        "steps": rows,
    }
    write_result(result, options.result)


if __name__ == "__main__":
    main()
