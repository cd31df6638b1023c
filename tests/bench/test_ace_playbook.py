"""The bench of large playbooks: what it makes, what it counts, and that it runs."""

import json
import sys
from collections import Counter
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from bench import ace_playbook
from bench.ace_lessons import MadeUp, long_and_similar, made_up
from bench.ace_playbook import Quality, bars, main, measure, quality
from tasks.ace.deltas import Change
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_text import parse, to_text
from tasks.ace.refining import Refined


def test_a_made_up_playbook_has_sections_and_twins_and_no_other_text_twice() -> None:
    made = made_up(300, seed=3)
    assert made == made_up(300, seed=3)
    assert made != made_up(300, seed=4)
    read = parse(made.text)
    assert (len(read.playbook), read.notes) == (300, ())
    first = {bullet.text for name, bullet in read.playbook.bullets.items() if name not in made.twin_of}
    assert len(first) == 270
    assert len(set(read.playbook.section_names.values())) == 7
    assert len(made.twin_of) == 30
    assert Counter(made.twin_of.values()).most_common(1)[0][1] == 1
    for twin, older in made.twin_of.items():
        assert read.playbook.section_names[twin] == read.playbook.section_names[older]
        assert int(older[-5:]) < int(twin[-5:])
    assert parse(to_text(read.playbook)).playbook == read.playbook


def test_long_lessons_are_long_and_differ_in_a_few_words() -> None:
    texts = [bullet.text for bullet in parse(long_and_similar(30)).playbook.by_age]
    assert len(texts) == 30
    assert all(500 < len(text) < 900 for text in texts)
    words = [text.split() for text in texts]
    assert all(sum(a != b for a, b in zip(words[0], one, strict=True)) <= 6 for one in words)


def merged(*ids: str, refused: str | None = None) -> Change:
    return Change(type="MERGE", replaced=tuple((one, "") for one in ids), refused=refused)


def test_quality_is_of_groups_and_what_is_known() -> None:
    made = MadeUp(text="", twin_of={"b": "a", "d": "c", "f": "e"})
    changes = (merged("a", "b"), merged("c", "x"), merged("e", "f", refused="no"))
    found = quality(made, Refined(playbook=Playbook(), changes=changes))
    assert found == Quality(twins=3, merged_twins=1, wrongly_merged=1)


def test_all_steps_are_measured_and_twins_found() -> None:
    rows = measure(made_up(200), runs=2, tokenizer=None, embeddings=True)
    assert {"load", "render", "write", "de-duplicate", "de-duplicate, embeddings"} <= rows.keys()
    assert all(row["seconds"] > 0 for row in rows.values())
    assert len(rows["load"]["runs"]) == 2
    assert rows["de-duplicate, long"]["bullets_left"] < 200
    assert "de-duplicate, long, one new" in rows
    for step in ("de-duplicate", "de-duplicate, embeddings"):
        row = rows[step]
        assert row["merged_twins"] >= 0.9 * row["twins"] == 18
        assert row["wrongly_merged"] <= 2
        assert row["bullets_left"] == 200 - row["merged_twins"] - row["wrongly_merged"]


def test_the_bar_is_of_the_steps_that_were_measured() -> None:
    rows = {step: {"seconds": 0.5} for step in ("load", "render", "write", "de-duplicate")}
    [bar] = bars(rows)
    assert (bar.found, bar.met) == (1.5, True)
    [bar] = bars(rows | {"budget": {"seconds": 0.6}})
    assert (bar.found, bar.met) == (2.1, False)
    assert "budget" in bar.name


class Pruning(ModuleType):
    """Counts, and takes out the first half."""

    class PlaybookTokens:
        def __init__(self, count: Any) -> None:  # noqa: ANN401
            self._count = count

        async def of_bullets(self, playbook: Playbook) -> dict[str, int]:
            return {name: await self._count(bullet.text) for name, bullet in playbook.bullets.items()}

    @staticmethod
    def prune(playbook: Playbook, tokens: dict[str, int], **_: int) -> tuple[Playbook, list[Change]]:
        return playbook.remove(list(tokens)[: len(tokens) // 2]), []


def test_the_budget_is_measured_where_pruning_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    playbook = parse(
        "## A\n[a-1] helpful=0 harmful=0 :: one two\n[a-2] helpful=0 harmful=0 :: three"
    ).playbook
    monkeypatch.setattr(ace_playbook, "PRUNING", "tasks.ace.nowhere")
    assert ace_playbook.budget(playbook, None) is None
    module = Pruning("tasks.ace.elsewhere")
    module.__spec__ = ModuleSpec(module.__name__, None)
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(ace_playbook, "PRUNING", module.__name__)
    left = ace_playbook.budget(playbook, None)
    assert left is not None
    assert (list(left[0].bullets), left[1:]) == (["a-2"], (3, 1))


def test_the_result_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    result = tmp_path / "result.json"
    main(["--bullets", "60", "--runs", "1", "--no-embeddings", "--result", str(result)])
    found = json.loads(result.read_text(encoding="utf-8"))
    assert found["steps"]["de-duplicate"]["twins"] == 6
    assert found["versions"]["wordllama"] is None
    assert "de-duplicate" in capsys.readouterr().out
