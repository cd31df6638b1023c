"""What langextract makes of the same answers: it aligns their items and merges passes, in its own Python.

Reads one JSON object from standard input and writes one to standard output:

    {"align": {"chunks": [{"text", "offset", "items": [[label, text], ...]}, ...],
               "settings": {name: {keyword of Resolver.align: value}}}}
        {"version", "align": {name: {"cpu_seconds", "spans": [[[start, end] or null, ...], ...]}}}
    {"merge": [[[[label, start, end], ...] of a pass, ...] of a document, ...]}
        {"version", "merge": [[[label, start, end], ...] of a document, ...]}

Imports only langextract and the standard library.
"""

import importlib
import json
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any

# By name, since the project's own Python has no langextract to check their types by.
annotation: Any = importlib.import_module("langextract.annotation")
resolver: Any = importlib.import_module("langextract.resolver")
data: Any = importlib.import_module("langextract.core.data")
formats: Any = importlib.import_module("langextract.core.format_handler")

Row = Mapping[str, Any]
Span = list[int]


def aligned(chunks: Sequence[Row], setting: Row) -> Row:
    """Align all items of all chunks, as `extract` does after the model's answer was parsed."""
    work = resolver.Resolver(formats.FormatHandler(format_type=data.FormatType.JSON, use_fences=False))
    spans: list[list[Span | None]] = []
    seconds = 0.0
    for chunk in chunks:
        answer = json.dumps({"extractions": [{label: text} for label, text in chunk["items"]]})
        extractions = work.resolve(answer)
        before = time.process_time()
        found = list(work.align(extractions, chunk["text"], 0, chunk["offset"], **setting))
        seconds += time.process_time() - before
        if len(found) != len(chunk["items"]):
            raise RuntimeError(f"{len(chunk['items'])} items went in and {len(found)} came out")
        spans.append([span_of(each) for each in found])
    return {"cpu_seconds": seconds, "spans": spans}


def span_of(extraction: Any) -> Span | None:  # noqa: ANN401 - langextract's
    """Return where an extraction stands, or None."""
    interval = extraction.char_interval
    if interval is None or interval.start_pos is None or interval.end_pos is None:
        return None
    return [interval.start_pos, interval.end_pos]


def merged(passes: Sequence[Sequence[Sequence[Any]]]) -> list[list[Any]]:
    """Merge the passes of a document: the first wins."""
    extractions = [
        [
            data.Extraction(label, "", char_interval=data.CharInterval(start_pos=start, end_pos=end))
            for label, start, end in found
        ]
        for found in passes
    ]
    kept = annotation._merge_non_overlapping_extractions(list(extractions))  # noqa: SLF001 - it has no other door
    return [[each.extraction_class, *(span_of(each) or ())] for each in kept]


def main() -> None:
    """Answer one question."""
    asked = json.load(sys.stdin)
    answer: dict[str, Any] = {"version": version("langextract")}
    if "align" in asked:
        chunks, settings = asked["align"]["chunks"], asked["align"]["settings"]
        answer["align"] = {name: aligned(chunks, setting) for name, setting in settings.items()}
    if "merge" in asked:
        answer["merge"] = [merged(passes) for passes in asked["merge"]]
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
