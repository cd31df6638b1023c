"""Says which prompts a program of the throughput benchmark has stored: one line of JSON, their digests.

python -m bench.stored (engine | script) FOLDER NUMBER
"""

import json
import sys
from pathlib import Path

from bench.by_engine import requests_for
from bench.by_hand import key, read_answers
from bench.questions import prompt_digest, questions
from cache.disk_store import DiskStore
from tasks.keys import request_key


def stored_by_engine(folder: Path, number: int) -> list[str]:
    """Look into the store."""
    store = DiskStore(folder / "store")
    asked = {request_key(request): request.prompt or "" for request in requests_for(number)}
    found = store.get(asked)
    store.close()
    return [prompt_digest(asked[name]) for name in found.entries]


def stored_by_script(folder: Path, number: int) -> list[str]:
    """Look into the file."""
    answers = read_answers(folder / "answers.jsonl")
    return [prompt_digest(prompt) for prompt in questions(number) if key(prompt) in answers]


def main() -> None:
    """Print the digests."""
    look = {"engine": stored_by_engine, "script": stored_by_script}[sys.argv[1]]
    sys.stdout.write(json.dumps(look(Path(sys.argv[2]), int(sys.argv[3]))))


if __name__ == "__main__":
    main()
