"""2,000 short prompts through a server of 64 slots: this project beside a script written by hand.

    python -m bench.throughput [--repetitions N] [--no-prefect]        (or `make bench-throughput`)

Each program runs in a fresh process: cold, warm, with faults, killed at half and resumed. The server counts
what it was asked, so "sent again though answered" is exact. Takes about four minutes, mostly waiting.
"""

import argparse
import json
import os
import platform
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench.processes import PROJECT, Cost, SlotsClient, measure, running_slots
from bench.questions import answer_to, questions
from bench.result_file import machine, write_result

RESULT = Path(__file__).parent / "results" / "throughput.json"
PROMPTS = 2000
FAULT_FRACTION = 0.1
KILL_AFTER_SECONDS = (0.0, 0.05, 0.1)
"""Pauses between the answer that makes it half and the kill, in turn: moments of one wave of 150 ms."""

START_UP = "one prompt"
"""Imports and connections; some libraries are imported only when something is sent."""
SINGLY = "cold, 2000 asks"
"""Each prompt asked by a call of its own, all at once; for information, the targets are for one call."""

MODULES = {"engine": "bench.by_engine", "script": "bench.by_hand"}
Row = dict[str, Any]
Runs = dict[str, dict[str, list[Row]]]
"""{program: {scenario: [one row for each repetition]}}"""


@dataclass(frozen=True, kw_only=True, slots=True)
class Program:
    """One of the two programs and its folder."""

    name: str
    folder: Path

    def run(self, slots: SlotsClient, *options: str, prompts: int = PROMPTS, kill_after: float = -1.0) -> Row:
        """Run it in a fresh process, to its end or to half of the answers, and say what it cost and asked."""
        before = slots.counts()

        def kill(pid: int) -> None:
            if kill_after >= 0.0:
                slots.wait_until_answered(prompts // 2)
                time.sleep(kill_after)
                os.kill(pid, signal.SIGKILL)

        self._forget()
        cost = measure(
            ["-m", MODULES[self.name], slots.base_url, str(self.folder), str(prompts), *options],
            meanwhile=kill,
        )
        return {**asdict(cost), **self._found(cost, prompts), **_asked(before, slots.counts())}

    def stored(self) -> set[str]:
        """Return the digests of the prompts that it has stored."""
        command = [sys.executable, "-m", "bench.stored", self.name, str(self.folder), str(PROMPTS)]
        done = subprocess.run(command, cwd=PROJECT, check=True, capture_output=True, text=True)  # noqa: S603
        return set(json.loads(done.stdout))

    def _forget(self) -> None:
        for name in ("result.json", "phases.json"):
            (self.folder / name).unlink(missing_ok=True)

    def _found(self, cost: Cost, prompts: int) -> Row:
        if cost.exit_code == -signal.SIGKILL:
            return {}
        result = self.folder / "result.json"
        answers: list[str] = json.loads(result.read_text(encoding="utf-8")) if result.exists() else []
        right = sum(
            answer == answer_to(prompt) for answer, prompt in zip(answers, questions(prompts), strict=False)
        )
        phases = self.folder / "phases.json"
        report: Row = json.loads(phases.read_text(encoding="utf-8")) if phases.exists() else {}
        return {"lost": prompts - right, **report}


def _asked(before: Mapping[str, Any], after: Mapping[str, Any]) -> Row:
    numbers = ("requests", "prompts", "answered", "resent_though_answered", "server_cpu_seconds")
    return {name: after[name] - before[name] for name in numbers} | {
        "probes": sum(after["probes"].values()) - sum(before["probes"].values()),
        "faults": after["faults"],
        "most_open": after["most_open"],
        "list_sizes": after["list_sizes"],
    }


# --- The scenarios --------------------------------------------------------------------------------------


def run_program(name: str, repetition: int) -> dict[str, Row]:
    """Run all scenarios of a program once."""
    rows: dict[str, Row] = {}
    with tempfile.TemporaryDirectory() as folder, running_slots() as slots:
        rows[START_UP] = Program(name=name, folder=Path(folder)).run(slots, prompts=1)
    with tempfile.TemporaryDirectory() as folder, running_slots() as slots:
        program = Program(name=name, folder=Path(folder))
        rows["cold"] = program.run(slots)
        rows["warm"] = program.run(slots)
    with (
        tempfile.TemporaryDirectory() as folder,
        running_slots(fault_fraction=FAULT_FRACTION, seed=repetition) as slots,
    ):
        rows["10% faults"] = Program(name=name, folder=Path(folder)).run(slots)
    with tempfile.TemporaryDirectory() as folder, running_slots() as slots:
        rows |= killed_and_resumed(Program(name=name, folder=Path(folder)), slots, repetition)
    if name == "engine":
        with tempfile.TemporaryDirectory() as folder, running_slots() as slots:
            program = Program(name=name, folder=Path(folder))
            rows[SINGLY] = program.run(slots, "--asks", str(PROMPTS))
    return rows


def start_once(name: str) -> None:
    """Run a program with one prompt, so that no measured run has to compile or read from the disk."""
    with tempfile.TemporaryDirectory() as folder, running_slots() as slots:
        Program(name=name, folder=Path(folder)).run(slots, prompts=1)


def killed_and_resumed(program: Program, slots: SlotsClient, repetition: int) -> dict[str, Row]:
    """Kill a program when half is answered, run it again, and count what it asked twice."""
    pause = KILL_AFTER_SECONDS[repetition % len(KILL_AFTER_SECONDS)]
    killed = program.run(slots, kill_after=pause)
    stored, before = program.stored(), slots.prompts()
    resumed = program.run(slots)
    asked_again = {
        name for name, (asked, _) in slots.prompts().items() if asked > before.get(name, (0, 0))[0]
    }
    resumed["stored"] = len(stored)
    resumed["resent_though_stored"] = len(asked_again & stored)
    return {"killed at half": killed, "resumed": resumed}


def run_all(repetitions: int) -> Runs:
    """Run both programs in turn, the first one first every other time."""
    runs: Runs = {name: {} for name in MODULES}
    for name in MODULES:
        start_once(name)
    for repetition in range(repetitions):
        for name in sorted(MODULES, reverse=bool(repetition % 2)):
            for scenario, row in run_program(name, repetition).items():
                runs[name].setdefault(scenario, []).append(row)
        print(f"repetition {repetition + 1} of {repetitions} is done", file=sys.stderr, flush=True)
    return runs


def run_with_prefect(repetitions: int) -> dict[str, list[Row]]:
    """Run bench.with_prefect in a process of its own, so that this one stays small."""
    command = [sys.executable, "-m", "bench.with_prefect", "--repetitions", str(repetitions)]
    done = subprocess.run(command, cwd=PROJECT, check=True, stdout=subprocess.PIPE, text=True)  # noqa: S603
    return json.loads(done.stdout)


# --- What is reached ------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True, slots=True)
class Target:
    """A promise and what was measured."""

    name: str
    measured: float
    limit: float
    unit: str = ""

    @property
    def is_met(self) -> bool:
        """Whether the promise holds."""
        return self.measured <= self.limit


def median(rows: Sequence[Row], figure: str) -> float:
    """Take the median of one figure."""
    return float(statistics.median(row[figure] for row in rows))


def cpu_ms_a_prompt(scenarios: Mapping[str, Sequence[Row]], scenario: str) -> float:
    """Return the CPU time of the client for a prompt, taking off that of a run with one prompt."""
    seconds = median(scenarios[scenario], "cpu_seconds") - median(scenarios[START_UP], "cpu_seconds")
    return seconds / (PROMPTS - 1) * 1000


def targets_of(runs: Runs, prefect: Mapping[str, Sequence[Row]] | None) -> list[Target]:
    """Hold the engine's figures against what they should be; times are medians, counts are the worst."""
    engine, script = runs["engine"], runs["script"]
    every = [row for scenario, rows in engine.items() if scenario != SINGLY for row in rows]
    cold, faults = median(engine["cold"], "wall_seconds"), median(engine["10% faults"], "wall_seconds")
    targets = [
        Target(name="cold: wall, against the script's + 10%", measured=cold, unit="s",
               limit=1.1 * median(script["cold"], "wall_seconds")),
        Target(name="cold: client CPU a prompt, start-up taken off", unit="ms",
               measured=cpu_ms_a_prompt(engine, "cold"), limit=0.5),
        Target(name="warm in a fresh process, imports included", unit="s",
               measured=median(engine["warm"], "wall_seconds"), limit=1.0),
        Target(name="warm: requests", measured=max(row["requests"] for row in engine["warm"]), limit=0),
        Target(name="warm: Prefect imported", limit=0,
               measured=max(row["prefect_is_imported"] for row in engine["warm"])),
        Target(name="10% faults: wall, against 1.5 x cold", measured=faults, limit=1.5 * cold, unit="s"),
        Target(name="resumed: stored answers sent again", limit=0,
               measured=max(row["resent_though_stored"] for row in engine["resumed"])),
        Target(name="results lost, in all runs", measured=sum(row.get("lost", 0) for row in every), limit=0),
        Target(name="peak memory, in all runs", unit="MB", limit=100,
               measured=max(row["peak_mb"] for row in every)),
    ]  # fmt: skip
    if prefect:
        targets.append(Target(name="20 task runs of Prefect: seconds more", unit="s", limit=3.0,
                              measured=added_by_prefect(prefect)))  # fmt: skip
    return targets


def added_by_prefect(prefect: Mapping[str, Sequence[Row]]) -> float:
    """Return the seconds of a process that runs the flow beyond those of the same work without Prefect."""
    return median(prefect["flow"], "wall_seconds") - median(prefect["engine"], "wall_seconds")


# --- What is printed ------------------------------------------------------------------------------------


def print_runs(runs: Runs) -> None:
    """Print the medians, the programs side by side; in brackets the lowest and the highest wall time."""
    print(
        f"{'':16} {'':7} {'wall s':>20} {'CPU s':>7} {'requests':>9} {'prompts':>8} "
        f"{'resent':>7} {'stored':>7} {'lost':>5} {'MB':>5}"
    )
    for scenario in runs["engine"]:
        for name in runs:
            if rows := runs[name].get(scenario):
                print(_line(scenario, name, rows))


def _line(scenario: str, name: str, rows: Sequence[Row]) -> str:
    walls = [row["wall_seconds"] for row in rows]
    wall = f"{statistics.median(walls):.2f} ({min(walls):.2f}-{max(walls):.2f})"
    numbers = f"{median(rows, 'requests'):9.0f} {median(rows, 'prompts'):8.0f}"
    resent = max(row["resent_though_answered"] for row in rows)
    stored = (
        "" if "resent_though_stored" not in rows[0] else str(max(r["resent_though_stored"] for r in rows))
    )
    lost = "" if "lost" not in rows[0] else str(max(row["lost"] for row in rows))
    return (
        f"{scenario:16} {name:7} {wall:>20} {median(rows, 'cpu_seconds'):7.2f} {numbers} "
        f"{resent:7d} {stored:>7} {lost:>5} {median(rows, 'peak_mb'):5.0f}"
    )


def print_phases(runs: Runs) -> None:
    """Print where the engine's time went, as medians."""
    for scenario in ("cold", "warm", SINGLY):
        rows = runs["engine"][scenario]
        print(f"\nengine, {scenario}: {'wall ms':>10} {'CPU ms':>9} {'of these in the event loop':>28}")
        for phase in rows[0]["phases"]:
            figures = zip(*(row["phases"][phase] for row in rows), strict=True)
            wall, cpu, loop = (statistics.median(column) * 1000 for column in figures)
            print(f"  {phase:20} {wall:10.0f} {cpu:9.0f} {loop:28.0f}")
    print("\nclient CPU a prompt, start-up taken off (ms):")
    for name, scenarios in runs.items():
        each = [
            f"{scenario} {cpu_ms_a_prompt(scenarios, scenario):.3f}"
            for scenario in ("cold", "10% faults", SINGLY)
            if scenario in scenarios
        ]
        print(f"  {name}: {', '.join(each)}")


def print_prefect(prefect: Mapping[str, Sequence[Row]]) -> None:
    """Print what a flow of 20 batch tasks took."""
    print("\n2000 prompts in 20 batches at once:")
    for name, rows in prefect.items():
        print(
            f"  {'in a flow' if name == 'flow' else 'without Prefect':16} "
            f"{median(rows, 'wall_seconds'):.2f} s, CPU {median(rows, 'cpu_seconds'):.2f} s"
        )
    phases = [row["phases"] for row in prefect["flow"]]
    parts = [f"{name} {median(phases, name):.2f} s" for name in phases[0]]
    print(f"  of the flow's process: {', '.join(parts)}")


def print_targets(targets: Sequence[Target]) -> None:
    """Print what is reached."""
    print("\ntargets:")
    for target in targets:
        verdict = "met" if target.is_met else "NOT MET"
        print(
            f"  {verdict:8} {target.name}: {target.measured:.3g} {target.unit} (at most {target.limit:.3g})"
        )


def main() -> None:
    """Measure, print, and write bench/results/throughput.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    parser.add_argument("--prefect", action=argparse.BooleanOptionalAction, default=True)
    options = parser.parse_args()
    load = [os.getloadavg()[0]]
    runs = run_all(options.repetitions)
    prefect = run_with_prefect(options.repetitions) if options.prefect else None
    load.append(os.getloadavg()[0])
    targets = targets_of(runs, prefect)
    print_runs(runs)
    print_phases(runs)
    if prefect:
        print_prefect(prefect)
    print_targets(targets)
    result = {
        "about": f"{PROMPTS} short prompts, a server of 64 slots of 150 ms; each run a fresh process",
        "command": "make bench-throughput",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{machine()}, Python {platform.python_version()}",
        "load_before_and_after": load,
        "repetitions": options.repetitions,
        "targets": [{**asdict(target), "is_met": target.is_met} for target in targets],
        "runs": runs,
        "with_prefect": prefect,
    }
    write_result(result, RESULT)


if __name__ == "__main__":
    main()
