"""The input of a batch, looked at before a run opens anything."""

from pathlib import Path

import pytest

from flows.batch import open_source
from flows.batch_parameters import BatchParameters
from tasks.batch.rows import InputError
from tests.flows.running import PROJECT


def source(path: Path, **given: object) -> BatchParameters:
    return BatchParameters.model_validate({"input_path": str(path), **given})


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "prompts.jsonl"
    path.write_text('{"prompt": "Hi"}\n')
    return path


def test_a_schema_may_be_a_file(prompts: Path, tmp_path: Path) -> None:
    path = tmp_path / "schema.json"
    path.write_text('{"type": "integer"}')
    found = open_source(source(prompts, json_schema=str(path)))
    assert found.schema is not None
    assert found.schema.text == '{"type": "integer"}'
    for text in ("[", "[]"):
        path.write_text(text)
        with pytest.raises(InputError, match=str(path)):
            open_source(source(prompts, json_schema=str(path)))


def test_the_input_is_not_written_over(prompts: Path) -> None:
    with pytest.raises(InputError, match="the input itself"):
        open_source(source(prompts, output_path=str(prompts.parent / "." / "prompts.jsonl")))


def test_an_input_has_to_be_named() -> None:
    with pytest.raises(InputError, match="give input_path"):
        open_source(BatchParameters())


def test_our_own_prompts_can_be_asked() -> None:
    found = open_source(source(PROJECT / "data" / "prompts" / "demo.jsonl"))
    assert (found.scan.rows, found.scan.bad) == (20, 0)
