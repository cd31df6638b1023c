"""Make the demo documents and their gold spans from texts in which the entities are marked.

    python scripts/extraction_gold.py [--check]

Reads data/extraction/marked/NAME.txt, where `[[label|words]]` marks an entity and marks may nest; writes
data/extraction/documents/NAME.txt without the marks, and gold.jsonl with the place of each. With --check
nothing is written, and what differs is named. Standard library only.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parents[1] / "data" / "extraction"
MARK = re.compile(r"\[\[(\w+)\||\]\]")


class MarkError(ValueError):
    """Marks do not fit together."""


def unmarked(marked: str) -> tuple[str, list[dict[str, object]]]:
    """Return a text without its marks, and its entities by place, outer ones first.

    Raises:
        MarkError: A mark is not closed, or closes nothing.
    """
    text, place = "", 0
    opened: list[tuple[int, str]] = []
    spans: list[tuple[int, int, str]] = []
    for mark in MARK.finditer(marked):
        text += marked[place : mark.start()]
        place = mark.end()
        if mark[1]:
            opened.append((len(text), mark[1]))
        elif opened:
            start, label = opened.pop()
            spans.append((start, -len(text), label))
        else:
            raise MarkError(f"a mark is closed that is not open, after {text[-40:]!r}")
    if opened:
        raise MarkError(f"the mark {opened[-1][1]!r} is not closed, after {text[: opened[-1][0]][-40:]!r}")
    text += marked[place:]
    entities: list[dict[str, object]] = [
        {"start": start, "end": -end, "label": label, "text": text[start:-end]}
        for start, end, label in sorted(spans)
    ]
    return text, entities


def made(folder: Path) -> dict[str, str]:
    """Return {name of a file: what it should hold}."""
    files: dict[str, str] = {}
    lines: list[str] = []
    for path in sorted((folder / "marked").glob("*.txt")):
        text, entities = unmarked(path.read_text(encoding="utf-8"))
        files[f"documents/{path.name}"] = text
        record = {"id": path.name, "text": text, "entities": entities}
        lines.append(json.dumps(record, ensure_ascii=False))
    files["gold.jsonl"] = "".join(f"{line}\n" for line in lines)
    return files


def main() -> int:
    """Write the files, or say which differ."""
    differing = 0
    for name, content in made(FOLDER).items():
        path = FOLDER / name
        if "--check" not in sys.argv:
            path.write_bytes(content.encode())
        elif not path.exists() or path.read_bytes() != content.encode():
            print(f"{name} is not what its marked text makes; run scripts/extraction_gold.py")
            differing = 1
    return differing


if __name__ == "__main__":
    sys.exit(main())
