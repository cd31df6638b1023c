"""A fake vLLM server that fails at random and writes down what it was asked, what it delivered, and to whom.

    python -m tests.chaos.server --ledger FILE --store FOLDER --count N --seed S [--rate 0.1]

Each client is known by its API key. A question that arrives though its answer is in the store is noted.
"""

import json
import random
import sqlite3
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import cast

from cache.keys import Key
from tasks.keys import request_key
from tests.chaos.questions import numbers_of, questions
from tests.fake_vllm import Fault, JsonObject, Witness, build_parser, serve

FAULTS: tuple[JsonObject, ...] = (
    {"kind": "status", "status": 429},
    {"kind": "status", "status": 429, "retry_after": 0.05},
    {"kind": "status", "status": 500},
    {"kind": "status", "status": 503},
    {"kind": "reset"},
    {"kind": "reset", "hard": True},
    {"kind": "truncated"},
    {"kind": "truncated", "declared": "cut"},
    {"kind": "not_json"},
    {"kind": "too_few_choices"},
    {"kind": "abort"},
)


def stored_keys(store: Path) -> set[Key]:
    """Read the keys of a store that others write, without touching it."""
    with suppress(sqlite3.OperationalError):  # not made yet
        uri = f"file:{store / 'cache.db'}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return {Key(key) for (key,) in connection.execute("SELECT key FROM Cache")}
    return set()


class Ledger(Witness):
    """Writes one line for each request that arrives, and for each answer that has left whole."""

    def __init__(self, path: Path, store: Path, *, count: int, seed: int, rate: float) -> None:
        requests = questions(count)
        self.numbers = numbers_of(requests)
        self.keys = [request_key(request) for request in requests]
        self.store = store
        self.dice = random.Random(seed)
        self.rate = rate
        self.file = path.open("a", buffering=1, encoding="utf-8")

    def arrived(self, client: str, prompts: Sequence[str]) -> Fault | None:
        """Note a request, and roll the dice for it."""
        numbers = [self.numbers[prompt] for prompt in prompts]
        stored = stored_keys(self.store)
        fault = Fault(**self.dice.choice(FAULTS)) if self.dice.random() < self.rate else None
        self._write(
            what="arrived",
            client=client,
            numbers=numbers,
            stored=[number for number in numbers if self.keys[number] in stored],
            fault=f"{fault.kind} {fault.status}"
            if fault and fault.kind == "status"
            else fault and fault.kind,
        )
        return fault

    def delivered(self, client: str, prompts: Sequence[str]) -> None:
        """Note answers that have left."""
        if prompts:
            self._write(what="delivered", client=client, numbers=[self.numbers[one] for one in prompts])

    def _write(self, **row: object) -> None:
        self.file.write(json.dumps({"time": time.monotonic(), **row}) + "\n")


def main() -> None:
    """Serve until SIGTERM."""
    parser = build_parser()
    parser.add_argument("--ledger", type=Path, required=True)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--count", type=int, required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--rate", type=float, default=0.1)
    options = parser.parse_args()
    ledger = Ledger(
        cast("Path", options.ledger),
        cast("Path", options.store),
        count=options.count,
        seed=options.seed,
        rate=options.rate,
    )
    serve(options, ledger)


if __name__ == "__main__":
    main()
