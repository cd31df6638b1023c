"""`vllm-flows extraction compare | import`."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from flows.cli import app
from flows.extraction_files import Finished, open_files
from tasks.extraction.spec import read_spec
from tasks.extraction.values import Entity

TEXT = "Ada met Alan."


def write_run(folder: Path, *found: tuple[str, int, int]) -> Path:
    folder.mkdir(parents=True)
    entities = tuple(
        Entity(
            label=label, text=TEXT[start:end], status="exact", start=start, end=end, votes=1, confidence=1.0
        )
        for label, start, end in found
    )
    with open_files(folder) as write:
        write(
            Finished(
                id="a", source=None, status="complete", reason="", coverage=1.0, text=TEXT, entities=entities
            )
        )
    (folder / "summary.json").write_text(json.dumps({"coverage": 1.0}))
    return folder


@pytest.fixture
def gold(tmp_path: Path) -> Path:
    path = tmp_path / "gold.jsonl"
    spans = [{"start": 0, "end": 3, "label": "person"}, {"start": 8, "end": 12, "label": "person"}]
    path.write_text(json.dumps({"id": "a", "text": TEXT, "entities": spans}))
    return path


def test_runs_are_laid_side_by_side(tmp_path: Path, gold: Path) -> None:
    half = write_run(tmp_path / "half", ("person", 0, 3))
    whole = write_run(tmp_path / "whole", ("person", 0, 3), ("person", 8, 12))
    command = ["extraction", "compare", str(half), str(whole), "--gold", str(gold)]
    done = CliRunner().invoke(app, [*command, "--json"])
    assert done.exit_code == 0, done.output
    rows = {row["run"]: row for row in json.loads(done.stdout)["runs"]}
    assert (rows["half"]["recall"], rows["whole"]["recall"]) == (0.5, 1.0)
    assert rows["half"]["precision"] == 1.0
    shown = CliRunner().invoke(app, command)
    assert shown.exit_code == 0
    for words in ("half", "whole", "precision", "grounding precision", "person"):
        assert words in shown.stdout
    assert "…" not in shown.stdout


def test_folders_of_one_name_are_told_apart(tmp_path: Path, gold: Path) -> None:
    runs = [write_run(tmp_path / folder / "run", ("person", 0, 3)) for folder in ("a", "b")]
    done = CliRunner().invoke(app, ["extraction", "compare", *map(str, runs), "--gold", str(gold), "--json"])
    assert {row["run"] for row in json.loads(done.stdout)["runs"]} == set(map(str, runs))


def test_a_run_of_other_documents_is_refused(tmp_path: Path) -> None:
    gold = tmp_path / "gold.jsonl"
    gold.write_text(json.dumps({"id": "elsewhere", "entities": []}))
    run = write_run(tmp_path / "run")
    done = CliRunner().invoke(app, ["extraction", "compare", str(run), "--gold", str(gold)])
    assert done.exit_code == 1
    assert "'elsewhere'" in done.stderr


def test_a_folder_that_was_damaged_is_refused(tmp_path: Path, gold: Path) -> None:
    run = write_run(tmp_path / "run", ("person", 0, 3))
    (run / "entities.jsonl").write_text("[]")
    done = CliRunner().invoke(app, ["extraction", "compare", str(run), "--gold", str(gold)])
    assert done.exit_code == 1
    assert "no folder of a finished extraction" in done.stderr


@pytest.mark.parametrize("what", ["no run", "no gold"])
def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path, gold: Path, what: str) -> None:
    run = tmp_path if what == "no run" else write_run(tmp_path / "run")
    path = gold if what == "no run" else tmp_path / "nothing.jsonl"
    done = CliRunner().invoke(app, ["extraction", "compare", str(run), "--gold", str(path)])
    assert done.exit_code == 1
    assert "Traceback" not in done.output
    assert len(done.stderr.strip().splitlines()) == 1


def test_langextract_s_examples_become_a_spec(tmp_path: Path) -> None:
    examples = tmp_path / "examples.json"
    extraction = {"extraction_class": "person", "extraction_text": "Ada", "attributes": {"role": "guest"}}
    examples.write_text(json.dumps([{"text": TEXT, "extractions": [extraction]}]))
    spec = tmp_path / "people.yaml"
    done = CliRunner().invoke(app, ["extraction", "import", str(examples), "-o", str(spec)])
    assert done.exit_code == 0, done.output
    read = read_spec(spec)
    assert (read.name, read.label_names, len(read.examples)) == ("people", ("person",), 1)
    assert read.labels[0].attributes[0].name == "role"
    again = CliRunner().invoke(app, ["extraction", "import", str(examples), "-o", str(spec)])
    assert again.exit_code == 1
    assert "people.yaml is there" in again.stderr


def test_examples_that_do_not_fit_their_texts_are_refused(tmp_path: Path) -> None:
    examples = tmp_path / "examples.json"
    extraction = {"extraction_class": "person", "extraction_text": "Grace"}
    examples.write_text(json.dumps([{"text": TEXT, "extractions": [extraction]}]))
    spec = tmp_path / "people.yaml"
    done = CliRunner().invoke(app, ["extraction", "import", str(examples), "-o", str(spec)])
    assert done.exit_code == 1
    assert "'Grace'" in done.stderr
    assert not spec.exists()
