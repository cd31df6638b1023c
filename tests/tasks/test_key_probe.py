"""What a server could see asks again and nothing else does: through a Generator and over HTTP.

The lines are in bench/key_probe.py, which prints them as a table.
"""

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import pytest

from backends.messages import Request
from backends.vllm_server import VLLMServer
from bench.key_probe import MODELS, SEEN, STEERING, Line, Probe, lines, settings_of, values_in
from tests.fake_vllm import FakeVLLM


@pytest.fixture(scope="module")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Probe]:
    folder: Path = tmp_path_factory.mktemp("probe")
    with FakeVLLM(models=MODELS) as one, FakeVLLM(models=MODELS) as other:
        yield Probe([one, other], folder)


@pytest.mark.parametrize("line", lines(), ids=lambda line: line.change)
async def test_a_change_asks_again_what_it_changes_and_no_more(probe: Probe, line: Line) -> None:
    assert await probe.asked(line) == line.expected


def test_every_class_in_a_request_is_probed() -> None:
    """A new class of values fails here until bench/key_probe.py has lines for it."""
    assert set(SEEN) == values_in(Request)


@pytest.mark.parametrize("kind", SEEN)
def test_every_field_has_a_line_in_the_probe(kind: type) -> None:
    """A new field fails here until bench/key_probe.py changes it and sees it asked again."""
    compared = {field.name for field in dataclasses.fields(kind) if field.compare}
    assert set(SEEN[kind]) == compared


def test_every_setting_of_the_backend_has_a_line_in_the_probe() -> None:
    """A new setting fails here until bench/key_probe.py changes it and sees nothing asked."""
    assert set(STEERING) == settings_of(VLLMServer)


@pytest.mark.parametrize("kind", SEEN)
def test_a_line_changes_nothing_but_its_field(kind: type) -> None:
    for name, (one, other) in SEEN[kind].items():
        assert one != other
        top = {
            part
            for part in dataclasses.fields(Request)
            if getattr(one, part.name) != getattr(other, part.name)
        }
        assert len(top) == 1, name
