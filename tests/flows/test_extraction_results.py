"""What a run of an extraction says of itself: warnings, and the tables of its report."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from backends.readings import Readings, ServerReading
from flows.extraction_exports import write_exports
from flows.extraction_files import Finished, open_files
from flows.extraction_page import write_report
from flows.extraction_parameters import Export, ExtractionParameters
from flows.extraction_results import ExtractionResult, Totals
from flows.extraction_source import find_spec
from flows.gpu_samples import Samples
from tasks.extraction.values import Entity, Provenance
from tasks.tally import Tally

SPEC = find_spec("entities")
TEXT = "Ada Lovelace spoke."


def entity(text: str, passes: int) -> Entity:
    start = TEXT.find(text)
    return Entity(
        label="person",
        text=text,
        status="exact" if start >= 0 else "ungrounded",
        start=start if start >= 0 else None,
        end=start + len(text) if start >= 0 else None,
        votes=passes,
        confidence=1.0,
        provenance=tuple(Provenance(pass_number=number, chunk=0, index=0) for number in range(passes)),
    )


def finished(entities: Sequence[Entity]) -> Finished:
    return Finished(
        id="a.txt",
        source=None,
        status="complete",
        reason="",
        coverage=1.0,
        text=TEXT,
        entities=tuple(entities),
        chunks=1,
    )


def result_of(totals: Totals, tally: Tally | None = None, samples: Samples | None = None) -> ExtractionResult:
    return ExtractionResult(
        parameters=ExtractionParameters(text=TEXT),
        spec=SPEC,
        name="text",
        model="small",
        totals=totals,
        tally=tally or Tally(),
        samples=samples or Samples(),
        seconds=1.0,
    )


@pytest.mark.parametrize("passes", [1, 3])
@pytest.mark.parametrize(("made_up", "warns"), [(1, False), (2, True)])
def test_the_share_of_what_was_made_up_does_not_grow_with_passes(
    passes: int, made_up: int, *, warns: bool
) -> None:
    """What was found is one entity however often it was; what was made up stands there each time."""
    totals = Totals()
    lost = [entity("Bob", 1) for _ in range(made_up * passes)]
    for some in ([entity("Ada Lovelace", passes)], *[[entity("spoke", passes)]] * 4, lost):
        totals.add(finished(some))
    told = [one for one in result_of(totals).warnings() if "stand nowhere" in one]
    assert bool(told) == warns
    if warns:
        assert f"{2 * passes} of {7 * passes} items" in told[0]


def test_the_report_shows_what_servers_held_and_what_was_asked(tmp_path: Path) -> None:
    samples = Samples()
    for at, use in ((0.0, 0.25), (15.0, 0.75)):
        reading = ServerReading(
            server="http://127.0.0.1:8000", kv_cache_usage=use, requests_waiting=2, preemptions=None
        )
        samples.add(at, Readings(gpus=(), servers=(reading,)))
    totals = Totals()
    with open_files(tmp_path) as write:
        write(finished([entity("Ada Lovelace", 1)]))
        totals.add(finished([entity("Ada Lovelace", 1)]))
    tally = Tally(sent=7, requests=9, failed=1, alerts=2)
    write_report(result_of(totals, tally=tally, samples=samples), tmp_path, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for shown in ("KV cache, %", '<td class="number">75.0</td>', "9; prompts that failed 1", "alerts of"):
        assert shown in page


def test_a_report_of_a_run_that_read_nothing_has_no_table_of_it(tmp_path: Path) -> None:
    with open_files(tmp_path) as write:
        write(finished([]))
    write_report(result_of(Totals()), tmp_path, [])
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "held meanwhile" not in page
    assert "alerts of" not in page


def test_exports_that_are_there_from_before_say_what_is_found_now(tmp_path: Path) -> None:
    runs: list[tuple[str, list[Export]]] = [("Ada Lovelace", ["conll", "brat"]), ("spoke", [])]
    for name, wanted in runs:
        with open_files(tmp_path) as write:
            write(finished([entity(name, 1)]))
        write_exports(wanted, tmp_path)
    assert "spoke B-person" in (tmp_path / "entities.conll").read_text()
    assert [path.read_text() for path in (tmp_path / "brat").glob("*.ann")] == ["T1\tperson 13 18\tspoke\n"]


def test_what_was_never_exported_is_not(tmp_path: Path) -> None:
    with open_files(tmp_path) as write:
        write(finished([entity("spoke", 1)]))
    write_exports([], tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"documents.jsonl", "entities.jsonl"}
