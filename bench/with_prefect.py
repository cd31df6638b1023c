"""What Prefect adds: a flow of 20 batch tasks against a running server, and the same work without Prefect.

python -m bench.with_prefect [--repetitions N]     writes one line of JSON to standard output
"""

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from bench.processes import measure, running_slots
from bench.questions import answer_to, questions
from tests.flows.running import PrefectServer, running_prefect

PROMPTS = 2000
TASKS = 20


def run(program: str, prefect: PrefectServer, *, prompts: int = PROMPTS) -> dict[str, Any]:
    """Run one of the two programs with an empty store."""
    with tempfile.TemporaryDirectory() as folder, running_slots() as slots:
        place = [slots.base_url, folder, str(prompts)]
        last = [str(TASKS)] if program == "flow" else ["--asks", str(TASKS)]
        module = "bench.by_flow" if program == "flow" else "bench.by_engine"
        cost = measure(["-m", module, *place, *last], environment=prefect.environment)
        answers = json.loads(Path(folder, "result.json").read_text(encoding="utf-8"))
        phases = json.loads(Path(folder, "phases.json").read_text(encoding="utf-8"))
        requests = slots.counts()["requests"]
    expected = [answer_to(prompt) for prompt in questions(prompts)]
    if answers != expected or cost.exit_code:
        raise RuntimeError(f"{module} ended with {cost.exit_code} and {len(answers)} answers")
    return {
        "wall_seconds": cost.wall_seconds,
        "cpu_seconds": cost.cpu_seconds,
        "requests": requests,
        "phases": phases,
    }


def main() -> None:
    """Measure both in turn and print the runs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=3)
    repetitions = parser.parse_args().repetitions
    runs: dict[str, list[dict[str, Any]]] = {"flow": [], "engine": []}
    with tempfile.TemporaryDirectory() as folder, running_prefect(Path(folder)) as prefect:
        run("flow", prefect, prompts=TASKS * 2)  # the server's first run is slower than all others
        for repetition in range(repetitions):
            for program in sorted(runs, reverse=bool(repetition % 2)):
                runs[program].append(run(program, prefect))
    sys.stdout.write(json.dumps(runs) + "\n")


if __name__ == "__main__":
    main()
