"""The files that an ICM run leaves, and what it says about itself."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from flows.parameters import ICMParameters
from flows.results import costed_history, history, label_rows, run_directory, write_files
from tasks.icm.claims import batch_seed, draw_batches
from tasks.icm.evaluation import TestScore
from tests.flows.icm_results import found, without_gold
from tests.tasks.icm.made_up import MemoryStore, made_claims, searched

FILES = ["history.jsonl", "labels.jsonl", "report.html", "summary.json"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def test_all_files_are_written_and_nothing_else(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "run"
    summary = write_files(await found(), directory, "<html>é</html>")
    assert names(directory) == FILES
    assert (directory / "report.html").read_text(encoding="utf-8") == "<html>é</html>"
    assert json.loads((directory / "summary.json").read_text(encoding="utf-8")) == json.loads(
        json.dumps(summary)
    )
    assert summary["report"] == str(directory / "report.html")


async def test_equal_runs_write_equal_labels_and_history(tmp_path: Path) -> None:
    """Whatever they cost, and however long they took: one is answered from the store altogether."""
    store = MemoryStore()
    first = await found(store=store, seconds=500.0, consistency="answer")
    again = replace(await found(store=store, seconds=1.0, consistency="answer"), flow_run_id="other")
    assert again.tally.sent == 0 < first.tally.sent
    for name, result in (("first", first), ("again", again)):
        write_files(result, tmp_path / name, "")
    for name in ("labels.jsonl", "history.jsonl"):
        assert (tmp_path / "first" / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    assert (tmp_path / "first/summary.json").read_bytes() != (tmp_path / "again/summary.json").read_bytes()


async def test_labels_have_one_row_for_each_claim_and_null_where_there_is_no_label(tmp_path: Path) -> None:
    result = await found(iterations=3)
    write_files(result, tmp_path, "")
    rows = lines(tmp_path / "labels.jsonl")
    assert rows == label_rows(result)
    [batch] = result.batches
    assert [(row["id"], row["gold"]) for row in rows] == [(claim.id, claim.gold) for claim in batch.claims]
    final = batch.final
    for uid, row in enumerate(rows):
        assert list(row) == ["batch", "id", "label", "gold", "score", "margin"]
        if uid in final.assigned:
            assert (row["label"], row["score"]) == (final.assigned[uid], final.scores[uid])
            assert row["margin"] == (row["score"] if row["label"] else -row["score"])
        else:
            assert [row["label"], row["score"], row["margin"]] == [None, None, None]
    assert 0 < sum(row["label"] is None for row in rows) < len(rows)


async def test_history_has_one_row_for_each_iteration(tmp_path: Path) -> None:
    result = await found(consistency="answer")
    write_files(result, tmp_path, "")
    rows = lines(tmp_path / "history.jsonl")
    assert rows == history(result)
    assert [row["iteration"] for row in rows] == list(range(41))
    assert (rows[0]["outcome"], rows[0]["claim"], rows[0]["label"]) == ("start", None, None)
    [batch] = result.batches
    for row, step in zip(rows, batch.steps, strict=True):
        assert row["claim"] == (None if step.uid is None else batch.claims[step.uid].id)
        assert (row["energy"], row["flips"]) == (step.state.energy, step.flips)
        assert (row["pool_size"], row["inconsistent_pairs"]) == (
            len(step.state.assigned),
            len(step.state.pairs),
        )


async def test_summary_counts_and_costs(tmp_path: Path) -> None:
    result = await found()
    summary = write_files(result, tmp_path, "")
    outcomes = Counter(step.outcome for step in result.batches[0].steps)
    assert (summary["accepted"], summary["rejected"]) == (outcomes["accepted"], outcomes["rejected"])
    assert summary["labelled"] == result.labelled
    assert summary["energy"] == result.batches[0].final.energy
    written = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))
    assert written["cost"]["sent"] == result.tally.sent > 0
    assert written["cost"]["seconds"] == 12.0
    assert [score["method"] for score in written["test"]] == [
        "zero-shot", "random labels", "found labels", "golden labels",
    ]  # fmt: skip
    assert all(0 <= score["accuracy"] <= 1 for score in written["test"])
    assert ICMParameters.model_validate(written["parameters"]) == result.parameters


async def test_files_are_written_whole_or_not_at_all(tmp_path: Path) -> None:
    """A file that cannot be written leaves the old one, and no summary speaks of it."""
    write_files(await found(seconds=1.0), tmp_path, "<html>old</html>")
    summary = (tmp_path / "summary.json").read_bytes()
    with pytest.raises(UnicodeEncodeError):
        write_files(await found(seconds=2.0), tmp_path, "<html>new\ud800</html>")
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "<html>old</html>"
    assert (tmp_path / "summary.json").read_bytes() == summary


async def test_writing_again_replaces_the_files(tmp_path: Path) -> None:
    write_files(await found(iterations=20), tmp_path, "old")
    write_files(await found(iterations=5), tmp_path, "new")
    assert names(tmp_path) == FILES
    assert len(lines(tmp_path / "history.jsonl")) == 6
    assert (tmp_path / "report.html").read_text(encoding="utf-8") == "new"


def test_folder_of_a_run_depends_on_what_determines_its_result(tmp_path: Path) -> None:
    def folder(model: str = "m", data: str = "d", **parameters: Any) -> Path:  # noqa: ANN401 - of the run
        chosen = ICMParameters.model_validate(parameters)
        return run_directory(tmp_path, chosen, model, data)

    assert folder() == folder(cache_mode="replay") == folder(keep_prompts=True) == folder(alpha=50)
    different = [folder(), folder("n"), folder(data="e"), folder(batches=2), folder(seed=1), folder(alpha=30),
                 folder(consistency="answer"),
                 folder(iterations=1), folder(trailing_space=False), folder(revision="r")]  # fmt: skip
    assert len(set(different)) == len(different)
    assert folder(dataset="general_knowledge").name.startswith("icm-general_knowledge-")
    assert folder().parent == tmp_path


# --- warnings and the headline --------------------------------------------------------------------------


async def test_undisturbed_run_warns_of_nothing() -> None:
    result = await found(iterations=400, alpha=1.0)
    assert result.labelled == 16
    assert replace(result, test_scores=()).warnings() == []


async def test_labels_that_help_no_more_than_random_ones_are_called_so() -> None:
    result = await found(iterations=40)
    scores = {score.method: score for score in result.test_scores}
    zero, some = scores["zero-shot"], scores["found labels"]
    better = replace(result, test_scores=(replace(zero, correct=1), replace(some, correct=2)))
    equal = replace(result, test_scores=(replace(zero, correct=2), replace(some, correct=2)))
    assert not any("no better" in warning for warning in better.warnings())
    assert any("no better than random labels or none" in warning for warning in equal.warnings())


async def test_gold_in_the_consistency_rule_is_warned_of() -> None:
    assert any(
        "partly supervised" in warning for warning in (await found(consistency="reference")).warnings()
    )
    assert not any("supervised" in warning for warning in (await found(consistency="answer")).warnings())


async def test_inexact_scores_are_warned_of() -> None:
    result = replace(await found(iterations=1), exact_scores=False)
    assert any("20 most likely tokens only (top-20)" in warning for warning in result.warnings())


async def test_low_label_mass_is_warned_of_in_search_and_test() -> None:
    warnings = (await found(mass=0.05, iterations=2)).warnings()
    assert any("as little as 0.05 of its probability" in warning for warning in warnings)
    assert any(
        warning.startswith("Test, zero-shot: the labels had a median probability of 0.05")
        for warning in warnings
    )


async def test_unlabelled_claims_are_warned_of() -> None:
    assert "8 of 16 claims were never given a label." in (await found(iterations=0)).warnings()


async def test_labels_that_are_all_the_same_are_warned_of() -> None:
    result = await found(log_odds=lambda prompt: 3.0, iterations=400)  # noqa: ARG005 - whatever the prompt
    assert set(result.batches[0].final.assigned.values()) == {1}
    assert any(warning.startswith("Every claim got the label True") for warning in result.warnings())


async def test_headline_says_the_result_in_one_line() -> None:
    result = await found()
    headline = result.headline()
    assert "\n" not in headline
    assert f"{result.labelled} of 16 claims labelled" in headline
    assert "equal the gold ones" in headline
    assert "zero-shot" in headline
    assert f"{result.tally.sent} prompts sent" in headline


async def test_headline_and_files_without_gold_and_without_test(tmp_path: Path) -> None:
    result = await found(claims=without_gold(made_claims(6)), test=False, iterations=5)
    assert "no gold labels" in result.headline()
    assert "test accuracy: not evaluated" in result.headline()
    assert write_files(result, tmp_path, "")["accuracy"] is None
    assert {row["accuracy"] for row in lines(tmp_path / "history.jsonl")} == {None}


async def test_unreadable_answers_are_told_of_and_many_are_warned_of() -> None:
    result = await found(iterations=3)
    few, many = [
        TestScore.of(
            "zero-shot chat", [None] * number + [1] * (20 - number), made_claims(5), demonstrations=0,
            label_mass=None,
        )
        for number in (2, 3)
    ]  # fmt: skip
    said = "3 of 20 answers of zero-shot chat were neither True nor False and count as wrong."
    assert said in replace(result, test_scores=(*result.test_scores, many)).warnings()
    told = replace(result, test_scores=(*result.test_scores, few))
    assert not any("neither True nor False and" in warning for warning in told.warnings())
    assert f"zero-shot chat {few.accuracy:.1%} (2 unreadable)" in told.headline()
    assert "unreadable" not in result.headline()


async def test_intervals_of_few_questions_are_warned_of() -> None:
    result = await found(iterations=3)

    def warned(groups: int) -> list[str]:
        scores = [replace(score, groups=groups) for score in result.test_scores]
        return [
            text for text in replace(result, test_scores=tuple(scores)).warnings() if "too narrow" in text
        ]

    assert {score.groups for score in result.test_scores} == {2}
    assert warned(20) == []
    assert warned(19)[0].startswith("The test claims come from 19 questions only: with fewer than 20")
    assert "1 question only" in warned(1)[0]


# --- several batches ------------------------------------------------------------------------------------


async def test_files_of_several_batches_name_the_batch_in_every_row(tmp_path: Path) -> None:
    result = await found(claims=made_claims(12), batches=None, iterations=10)
    summary = write_files(result, tmp_path, "")
    labels, steps = lines(tmp_path / "labels.jsonl"), lines(tmp_path / "history.jsonl")
    assert Counter(row["batch"] for row in labels) == {1: 16, 2: 16, 3: 16}
    assert sorted(row["id"] for row in labels) == list(range(48))
    assert Counter(row["batch"] for row in steps) == {1: 11, 2: 11, 3: 11}
    batches = json.loads((tmp_path / "summary.json").read_text(encoding="utf-8"))["batches"]
    assert [row["batch"] for row in batches] == [1, 2, 3]
    for row in batches:
        mine = [label for label in labels if label["batch"] == row["batch"]]
        given = [label for label in mine if label["label"] is not None]
        assert (row["claims"], row["labelled"]) == (len(mine), len(given))
        assert row["accuracy"] == sum(label["label"] == label["gold"] for label in given) / len(given)
        last = [step for step in steps if step["batch"] == row["batch"]][-1]
        assert (row["accuracy"], row["energy"]) == (last["accuracy"], last["energy"])
    for name in ("labelled", "accepted", "rejected"):
        assert summary[name] == sum(row[name] for row in batches)
    assert summary["energy"] == pytest.approx(sum(row["energy"] for row in batches) / 3)
    right = [row["label"] == row["gold"] for row in labels if row["label"] is not None]
    assert summary["accuracy"] == sum(right) / len(right)


async def test_a_batch_is_searched_the_same_however_many_there_are() -> None:
    """The first as in a run of one batch; each as when it is searched alone, with its own seed."""
    one, two, three = [await found(claims=made_claims(12), batches=n, iterations=20) for n in (1, 2, 3)]
    assert one.batches == two.batches[:1] == three.batches[:1]
    assert two.batches == three.batches[:2]
    drawn = draw_batches(
        made_claims(12), size=16, batches=3, num_seeds=8, group_size=4, seed=one.parameters.seed
    )
    seed = batch_seed(one.parameters.seed, 2)
    assert three.batches[2].steps == tuple(await searched(drawn[2], iterations=20, alpha=10.0, seed=seed))
    other = await searched(drawn[2], iterations=20, alpha=10.0, seed=one.parameters.seed)
    assert three.batches[2].steps != tuple(other)


async def test_several_batches_are_named_in_headline_and_warnings() -> None:
    result = await found(claims=made_claims(12), batches=3, iterations=0)
    assert "24 of 48 claims labelled in 3 batches" in result.headline()
    warnings = result.warnings()
    assert any("are those of batch 1 of 3: a context holds one batch" in warning for warning in warnings)
    assert "24 of 48 claims were never given a label." in warnings
    assert not any("batch 1 of" in warning for warning in replace(result, test_scores=()).warnings())
    first, *others = result.batches
    alike = dict.fromkeys(first.final.assigned, 1)
    start = replace(first.steps[0], state=replace(first.final, assigned=alike))
    same = replace(result, batches=(*others, replace(first, steps=(start,))))
    assert any(w.startswith("Every claim of batch 3 got the label True") for w in same.warnings())


async def test_history_can_be_told_with_what_each_batch_has_cost_so_far(tmp_path: Path) -> None:
    result = await found(claims=made_claims(12), batches=2, iterations=3)
    ledger = [
        {"part": "search", "batch": batch, "iteration": iteration, "tokens_computed": tokens}
        for batch, iteration, tokens in [(1, 0, 10), (2, 0, 7), (1, 2, 5), (2, 3, 1), (1, 0, 100)]
    ]
    rows = costed_history(result, [*ledger, {"part": "test zero-shot", "batch": None, "tokens_computed": 9}])
    assert [row["tokens_computed"] for row in rows] == [110, 110, 115, 115, 7, 7, 7, 8]
    assert [{k: v for k, v in row.items() if k != "tokens_computed"} for row in rows] == history(result)
    write_files(result, tmp_path, "")
    assert "tokens_computed" not in lines(tmp_path / "history.jsonl")[0]
