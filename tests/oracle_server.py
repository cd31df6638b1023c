"""A fake vLLM server whose model is an oracle for extraction, in a process of its own.

    python -m tests.oracle_server [--documents JSONL] [--noise JSON] [--spoiling JSON]

Start it by `FakeVLLMProcess(program=oracle_program(...))`; an `Oracle` of the same documents and noise here
says what it answers there, and the truth about it.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from bench.extraction_oracle import LENER_BR, Noise, Oracle, load_gold
from bench.extraction_spoiling import Spoiling
from tests.fake_vllm import build_parser, serve


def oracle_program(noise: Noise, spoiling: Spoiling | None = None, documents: Path = LENER_BR) -> list[str]:
    """Return what `FakeVLLMProcess` is to run for this oracle."""
    options = ["--documents", str(documents.resolve()), "--noise", json.dumps(asdict(noise))]
    options += [] if spoiling is None else ["--spoiling", json.dumps(asdict(spoiling))]
    return ["-m", "tests.oracle_server", *options]


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = build_parser()
    parser.add_argument("--documents", type=Path, default=LENER_BR, help="gold documents, as JSON lines")
    parser.add_argument("--noise", type=json.loads, default={}, help="JSON object: fields of Noise")
    parser.add_argument("--spoiling", type=json.loads, help="JSON object: fields of Spoiling")
    options = parser.parse_args(arguments)
    spoiling = None if options.spoiling is None else Spoiling(**options.spoiling)
    oracle = Oracle(load_gold(options.documents), Noise(**options.noise), spoiling=spoiling)
    serve(options, writer=oracle)


if __name__ == "__main__":
    main()
