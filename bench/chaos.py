"""What is lost and what is paid twice when servers fail and processes are killed.

    python -m bench.chaos        (or `make chaos`); two to four minutes on two cores

5,000 prompts through two processes that share a store, against a fake server that fails one request in ten;
the processes are killed 20 times. The books are the server's.
"""

import json
import platform
import sys
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from tests.chaos.driver import Plan, run

RESULT = Path(__file__).parent / "results" / "chaos.json"


def main() -> int:
    """Run, print one line, write bench/results/chaos.json; 1 if anything was lost, paid twice or changed."""
    plan = Plan()
    with tempfile.TemporaryDirectory() as folder:
        report = run(plan, Path(folder))
    result = {
        "about": "two processes, one store, a server that fails one request in ten, kills at random moments",
        "command": "make chaos",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, Python {platform.python_version()}",
        "plan": asdict(plan),
        "report": asdict(report),
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    print(report.summary())
    return 0 if report.is_clean else 1


if __name__ == "__main__":
    sys.exit(main())
