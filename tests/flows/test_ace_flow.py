"""The flow `ace` from rows to report, answered by a made-up learner: numbers, files, costs, the UI."""

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import pytest

from bench.ace_demo_model import FOLDER, demo_learner, demo_rows
from flows.json_lines import read_rows
from tasks.ace.demo_rules import RULES
from tasks.ace.playbook import Playbook
from tasks.ace.playbook_json import from_json, to_json
from tasks.ace.playbook_text import parse, to_text
from tests.fake_vllm import FakeVLLM
from tests.flows.ace_runs import ALONE, FILES, SMALL, methods_of, put_rows, steps_of, writer
from tests.flows.running import (
    ICMProcess,
    JsonObject,
    Outcome,
    Place,
    PrefectServer,
    asked_of,
    free_port,
    one_sentence,
)

CONTEXT = 32_768

TRAIN = [row.question.fields["rule"] for row in demo_rows("train")[: SMALL["train_rows"]]]
TEST = [row.question.fields["rule"] for row in demo_rows("test")[: SMALL["test_rows"]]]
KNOWN = sum(RULES[name].known for name in TEST)
"""Test rows that the made-up learner answers without having learnt anything."""
LEARNT = sum(RULES[name].known or name in TRAIN for name in TEST)
"""Those that it answers once it has learnt from the train rows."""


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeVLLM]:
    with FakeVLLM(writer=writer(), max_model_len=CONTEXT) as server:
        yield server


@pytest.fixture(scope="module")
def new_place(fake: FakeVLLM, folders: Callable[[], Path]) -> Callable[[], Place]:
    return lambda: Place(base_url=fake.base_url, model="fake-model", folder=folders())


@dataclass(frozen=True)
class Finished:
    place: Place
    outcome: Outcome
    asked: frozenset[str]

    @property
    def playbook(self) -> Playbook:
        return from_json((self.outcome.directory / "playbook.json").read_text())


@pytest.fixture(scope="module")
def finished(process: ICMProcess, fake: FakeVLLM, new_place: Callable[[], Place]) -> Finished:
    place = new_place()
    fake.reset()
    outcome = process.run(place, SMALL, flow="ace").require_completed()
    asked = asked_of(fake.stats())
    assert set(asked.values()) == {1}
    return Finished(place, outcome, frozenset(asked))


# --- What it finds --------------------------------------------------------------------------------------


def test_the_playbook_and_the_baselines_have_their_numbers(finished: Finished) -> None:
    assert 0 < KNOWN < LEARNT < len(TEST)
    found = {
        name: (one["right"], one["total"], one["readable"], one["failed"])
        for name, one in methods_of(finished.outcome).items()
    }
    rows = len(TEST)
    assert found == {
        "ACE": (LEARNT, rows, rows, 0),
        "no playbook": (KNOWN, rows, rows, 0),
        "in-context examples": (KNOWN, rows, rows, 0),
        "cheat-sheet": (LEARNT, rows, rows, 0),
    }


def test_the_summary_tells_of_the_whole_run(finished: Finished) -> None:
    summary = finished.outcome.summary
    wrong = sum(not RULES[name].known for name in TRAIN)  # no rule of them is in an earlier batch
    taught = {name for name in TRAIN if not RULES[name].known}
    assert summary["steps"] == 4
    assert [one["step"] for one in summary["validation"]] == [0, 2, 4]
    accuracies = [one["accuracy"] for one in summary["validation"]]
    assert all(before < after for before, after in pairwise(accuracies))
    assert summary["best_step"] == 4
    assert summary["bullets"] == len(taught) == len(finished.playbook)
    assert summary["edits"] == {"applied": len(taught), "proposed": len(taught)}
    assert summary["stops"]["corrected"] <= wrong
    assert sum(summary["stops"].values()) == len(TRAIN)
    assert (summary["feedback"], summary["warnings"]) == ("labels", [])
    assert json.loads((finished.outcome.directory / "summary.json").read_text()) == summary


def test_the_playbook_is_there_as_text_and_as_json_with_the_same_lessons_and_counts(
    finished: Finished,
) -> None:
    read = parse((finished.outcome.directory / "playbook.txt").read_text())
    assert not read.notes
    assert to_text(read.playbook) == to_text(finished.playbook)
    lessons = {rule.lesson for rule in RULES.values()}
    assert {bullet.text for bullet in finished.playbook.by_age} <= lessons
    assert sum(counts.helpful for counts in finished.playbook.counts.values()) > 0
    last = from_json((finished.outcome.directory / "playbook-last.json").read_text())
    assert to_json(last) == to_json(finished.playbook)


def test_each_step_is_a_line(finished: Finished) -> None:
    steps = steps_of(finished.outcome)
    assert [step["step"] for step in steps] == [1, 2, 3, 4]
    ids = [row for step in steps for row in step["rows"]]
    assert ids == [row.question.id for row in demo_rows("train")[: len(TRAIN)]]
    assert [step["bullets"] for step in steps] == sorted(step["bullets"] for step in steps)
    assert [step["tokens"] for step in steps] == sorted(step["tokens"] for step in steps)
    assert all(step["right_last"] == 5 for step in steps)
    assert all(change["refused"] is None for step in steps for change in step["changes"])
    votes = [tag for step in steps for _, tag, _ in step["votes"]]
    helpful = sum(counts.helpful for counts in finished.playbook.counts.values())
    assert votes.count("helpful") == helpful


def test_each_answer_is_a_line(finished: Finished) -> None:
    rows = read_rows(finished.outcome.directory / "answers.jsonl")
    assert len(rows) == 4 * len(TEST)
    for name, method in methods_of(finished.outcome).items():
        assert sum(int(str(row["right"])) for row in rows if row["method"] == name) == method["right"]
    cited = [row["bullets"] for row in rows if row["method"] == "ACE" and row["bullets"]]
    assert len(cited) == LEARNT - KNOWN


def test_the_report_holds_the_lessons_the_rows_and_the_methods(finished: Finished) -> None:
    page = (finished.outcome.directory / "report.html").read_text()
    for bullet in finished.playbook.by_age:
        assert bullet.text in page
        assert bullet.id in page
    for name in methods_of(finished.outcome):
        assert name in page
    assert "train-001" in page
    assert f"{LEARNT} of {len(TEST)}" in page


def test_what_each_role_cost_adds_up_to_the_whole(finished: Finished) -> None:
    roles = {one["role"]: one for one in finished.outcome.summary["roles"]}
    corrected = finished.outcome.summary["stops"]["corrected"]
    rows, train = len(TEST), len(TRAIN)
    assert {name: one["put"] for name, one in roles.items()} == {
        "generator": train + corrected,
        "reflector": train,
        "curator": 4,
        "validation": 3 * 10,
        "test": rows,
        "no playbook": rows,
        "in-context examples": rows,
        "cheat-sheet": train + rows,
        "cheat-sheet writer": 4,
    }
    cost = finished.outcome.summary["cost"]
    assert sum(one["put"] for one in roles.values()) == cost["prompts"]
    for ours, whole in (("sent", cost["sent"]), ("input_tokens", cost["usage"]["input_tokens"])):
        assert sum(one["cost"][ours] for one in roles.values()) == whole
    assert cost["sent"] == len(finished.asked)


# --- Again, and without a server ------------------------------------------------------------------------


def test_a_second_run_asks_nothing_and_writes_the_same(
    process: ICMProcess, fake: FakeVLLM, finished: Finished
) -> None:
    before = asked_of(fake.stats())
    again = process.run(finished.place, SMALL, flow="ace").require_completed()
    assert asked_of(fake.stats()) == before
    assert again.summary["cost"]["sent"] == 0
    assert again.directory == finished.outcome.directory
    assert again.bytes_of(*FILES) == finished.outcome.bytes_of(*FILES)
    costs = {one["role"]: one["cost"] for one in finished.outcome.summary["roles"]}
    assert {one["role"]: one["cost"] for one in again.summary["roles"]} == costs  # of all runs


def test_without_its_server_a_run_of_before_is_replayed(process: ICMProcess, finished: Finished) -> None:
    away = Place(base_url=f"http://127.0.0.1:{free_port()}", model="fake-model", folder=finished.place.folder)
    before = finished.outcome.bytes_of(*FILES)
    for file in finished.outcome.directory.iterdir():
        file.unlink()
    replayed = process.run(away, {**SMALL, "cache_mode": "replay"}, flow="ace").require_completed()
    assert replayed.bytes_of(*FILES) == before


def test_an_estimate_sends_nothing_and_leaves_nothing(
    process: ICMProcess, fake: FakeVLLM, new_place: Callable[[], Place]
) -> None:
    place, before = new_place(), asked_of(fake.stats())
    found = process.run(place, {**SMALL, "estimate": True}, flow="ace").require_completed().summary
    assert found["to_send"] > 50
    assert asked_of(fake.stats()) == before
    assert not (place.folder / "runs").exists()


def test_a_run_in_which_the_last_review_helps_costs_no_more_than_its_estimate(
    process: ICMProcess, folders: Callable[[], Path]
) -> None:
    tried: Counter[str] = Counter()

    def late(role: str, prompt: str, answer: str) -> str:
        """Be right at the fourth attempt, whatever the question; have something new to say each time."""
        question = re.findall(r"<question>\n(.*?)\n</question>", prompt, re.DOTALL)[-1]
        said = json.loads(answer)
        if role == "generator":
            tried[question] = tried[question] + 1 if "<reflection>" in prompt else 0
            if tried[question] < 3:
                return json.dumps({**said, "final_answer": f"wrong {tried[question]}"})
        if role == "reflector":
            return json.dumps({**said, "key_insight": f"{said['key_insight']} Case {tried[question]}."})
        return answer

    with FakeVLLM(writer=writer(spoil=late), max_model_len=32_768) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        found = process.run(place, {**ALONE, "estimate": True}, flow="ace").require_completed().summary
        cost = process.run(place, ALONE, flow="ace").require_completed().summary["cost"]
        again = process.run(place, {**ALONE, "estimate": True}, flow="ace").require_completed().summary
    assert cost["sent"] <= found["to_send"] < 1.5 * cost["sent"]
    assert cost["usage"]["input_tokens"] <= found["input_tokens"]
    assert cost["usage"]["output_tokens"] <= found["max_output_tokens"]
    assert (again["to_send"], again["hits"]) == (0, again["calls"])


def test_a_budget_stops_it_and_what_was_answered_is_not_asked_again(
    process: ICMProcess, fake: FakeVLLM, new_place: Callable[[], Place], finished: Finished
) -> None:
    place = new_place()
    fake.reset()
    stopped = process.run(place, {**SMALL, "max_requests": 40}, flow="ace")
    assert stopped.state == "Failed"
    one_sentence(stopped.message, "RunStoppedError", "max_requests (40)")
    assert len(asked_of(fake.stats())) == 40
    written = {path.name for path in (place.folder / "runs").rglob("*") if path.is_file()}
    assert written <= {"ledger.jsonl", "playbook-last.txt"}
    whole = process.run(place, SMALL, flow="ace").require_completed()
    assert asked_of(fake.stats()) == dict.fromkeys(finished.asked, 1)
    sent = sum(one["cost"]["sent"] for one in whole.summary["roles"])  # by both runs
    assert sent == len(finished.asked) == whole.summary["cost"]["sent"] + 40
    assert whole.bytes_of(*FILES) == finished.outcome.bytes_of(*FILES)


# --- In the UI ------------------------------------------------------------------------------------------


def latest_artifacts(server: PrefectServer, outcome: Outcome) -> dict[str, JsonObject]:
    """Return {key: the last artifact of it}."""
    body = {"flow_runs": {"id": {"any_": [outcome.flow_run_id]}}}
    found = server.call("POST", "/artifacts/filter", body)
    return {one["key"]: one for one in sorted(found, key=lambda one: one["created"])}


def test_progress_deltas_growth_and_report_are_in_the_ui(
    prefect_server: PrefectServer, finished: Finished
) -> None:
    artifacts = latest_artifacts(prefect_server, finished.outcome)
    assert artifacts["ace-progress"]["data"] == 100.0
    assert f"{len(TRAIN)} of {len(TRAIN)} rows learnt from" in artifacts["ace-progress"]["description"]
    delta = artifacts["ace-delta"]["data"]
    added = [c for c in steps_of(finished.outcome)[-1]["changes"] if c["type"] == "ADD"]
    assert "diff\n" in delta
    assert added
    for change in added:
        assert f"+ [{change['bullet_id']}] {change['text']}" in delta
    growth = json.loads(artifacts["ace-growth"]["data"])
    assert [row["step"] for row in growth] == [0, 1, 2, 3, 4]
    assert [row["bullets"] for row in growth[1:]] == [step["bullets"] for step in steps_of(finished.outcome)]
    assert growth[-1]["best"] == "yes"
    assert "](data:image/svg+xml;base64," in artifacts["ace-growth-figure"]["data"]
    assert finished.outcome.summary["headline"] in artifacts["ace-report"]["data"]


def test_every_delta_is_kept(prefect_server: PrefectServer, finished: Finished) -> None:
    body = {"flow_runs": {"id": {"any_": [finished.outcome.flow_run_id]}}}
    found = prefect_server.call("POST", "/artifacts/filter", body)
    told = {one["description"] for one in found if one["key"] == "ace-delta"}
    assert told == {f"Step {number}" for number in (1, 2, 3, 4)}


# --- To begin with a playbook ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["playbook.txt", "playbook.json"])
def test_learning_can_begin_with_the_playbook_of_a_run(
    process: ICMProcess, finished: Finished, name: str, tmp_path: Path
) -> None:
    given = tmp_path / name
    given.write_bytes(finished.outcome.bytes_of(name)[0])
    parameters = {**ALONE, "playbook": str(given), "train_rows": 5}
    outcome = process.run(finished.place, parameters, flow="ace").require_completed()
    validation = outcome.summary["validation"]
    assert validation[0]["right"] == finished.outcome.summary["validation"][-1]["right"]
    assert methods_of(outcome)["ACE"]["right"] == LEARNT
    [step] = steps_of(outcome)
    assert step["right_first"] == 5
    ours = from_json((outcome.directory / "playbook-last.json").read_text())
    assert [bullet.id for bullet in ours.by_age] == [bullet.id for bullet in finished.playbook.by_age]
    counts = {bullet: one.helpful for bullet, one in finished.playbook.counts.items()}
    assert all(ours.counts[bullet].helpful >= helpful for bullet, helpful in counts.items())


def test_runs_that_begin_with_other_playbooks_are_other_runs(
    process: ICMProcess, finished: Finished, tmp_path: Path
) -> None:
    given = tmp_path / "playbook.txt"
    directories: set[Path] = set()
    for text in (
        "[misc-00001] helpful=0 harmful=0 :: Be brief.",
        "[misc-00001] helpful=0 harmful=0 :: Wait.",
    ):
        given.write_text(f"## OTHERS\n{text}\n")
        parameters = {**ALONE, "playbook": str(given), "train_rows": 5, "validation_rows": 0, "test_rows": 2}
        outcome = process.run(finished.place, parameters, flow="ace").require_completed()
        directories.add(outcome.directory)
    assert len(directories) == 2


# --- Online ---------------------------------------------------------------------------------------------

ONLINE: JsonObject = {"task": "demo", "test_rows": 20, "window": 10, "batch_size": 10}


def test_online_each_window_is_answered_with_what_the_windows_before_it_taught(
    process: ICMProcess, fake: FakeVLLM, new_place: Callable[[], Place], prefect_server: PrefectServer
) -> None:
    place = new_place()
    outcome = process.run(place, ONLINE, flow="ace-online").require_completed()
    rules = [row.question.fields["rule"] for row in demo_rows("test")[:20]]
    expected = [
        sum(RULES[name].known or name in rules[:start] for name in rules[start : start + 10])
        for start in (0, 10)
    ]
    assert [one["right"] for one in outcome.summary["validation"]] == expected
    online, alone = methods_of(outcome)["ACE"], methods_of(outcome)["no playbook"]
    assert (online["right"], online["total"]) == (sum(expected), 20)
    assert alone["right"] == sum(RULES[name].known for name in rules) < sum(expected)
    asked = asked_of(fake.stats())
    again = process.run(place, ONLINE, flow="ace-online").require_completed()
    assert asked_of(fake.stats()) == asked
    assert again.bytes_of(*FILES) == outcome.bytes_of(*FILES)
    artifacts = prefect_server.artifacts(outcome.flow_run_id)
    assert artifacts["ace-progress"]["data"] == 100.0
    assert {"ace-delta", "ace-growth", "ace-growth-figure", "ace-online-report"} <= set(artifacts)


# --- One row at a time, and without labels --------------------------------------------------------------


def test_with_one_row_at_a_time_it_is_the_published_loop(
    process: ICMProcess, new_place: Callable[[], Place]
) -> None:
    parameters = {
        **ALONE, "train_rows": 6, "batch_size": 1, "validation_rows": 0, "test_rows": 1,
        "lessons": "all", "post_generation": True,
    }  # fmt: skip
    outcome = process.run(new_place(), parameters, flow="ace").require_completed()
    steps = steps_of(outcome)
    assert [len(step["rows"]) for step in steps] == [1] * 6
    put = {one["role"]: one["put"] for one in outcome.summary["roles"]}
    corrected = outcome.summary["stops"]["corrected"]
    right = outcome.summary["stops"]["right at first"]
    assert corrected
    assert right
    # Each row takes 4 calls, and 5 where the first review put it right.
    assert put["generator"] == 2 * 6 + corrected
    assert put["reflector"] == 6
    assert put["curator"] == 6
    assert [step["right_after"] for step in steps] == [1] * 6


@pytest.mark.parametrize("feedback", ["environment", "self-check"])
def test_without_labels_no_question_depends_on_one(
    process: ICMProcess, fake: FakeVLLM, new_place: Callable[[], Place], feedback: str, tmp_path: Path
) -> None:
    asked = [
        _asked_with_targets(process, fake, new_place(), feedback, change, tmp_path)
        for change in (False, True)
    ]
    assert asked[0] == asked[1]
    assert len(asked[0]) > 20


def test_with_labels_questions_do_depend_on_them(
    process: ICMProcess, fake: FakeVLLM, new_place: Callable[[], Place], tmp_path: Path
) -> None:
    first, second = (
        _asked_with_targets(process, fake, new_place(), "labels", change, tmp_path)
        for change in (False, True)
    )
    assert first != second


def _asked_with_targets(
    process: ICMProcess, fake: FakeVLLM, place: Place, feedback: str, change: object, folder: Path
) -> dict[str, int]:
    """Return what is asked where all targets are what they are, or others."""
    rows = read_rows(FOLDER / "train.jsonl")[:10]
    given = [{**row, "answer": "1999-12-31"} if change else row for row in rows]
    path = put_rows(folder / f"train-{bool(change)}.jsonl", given)
    parameters = {**ALONE, "train_path": path, "feedback": feedback, "train_rows": 10, "validation_rows": 0}
    fake.reset()
    outcome = process.run(place, parameters, flow="ace").require_completed()
    assert outcome.summary["feedback"] == feedback
    assert outcome.summary["bullets"] > 0 or feedback == "labels"
    return dict(asked_of(fake.stats()))


def test_checks_for_the_cheat_sheet_are_no_costs_of_ace(
    process: ICMProcess, new_place: Callable[[], Place]
) -> None:
    parameters = {**ALONE, "feedback": "self-check", "train_rows": 5, "validation_rows": 0, "test_rows": 1}
    checks: list[int] = []
    for baselines in ([], ["cheat-sheet"]):
        outcome = process.run(new_place(), {**parameters, "baselines": baselines}, flow="ace")
        put = {one["role"]: one["put"] for one in outcome.require_completed().summary["roles"]}
        checks.append(put["self-check"])
        assert put.get("cheat-sheet self-check", 0) == (5 if baselines else 0)
    assert checks[0] == checks[1]


def test_the_self_check_has_its_own_line_of_costs(
    process: ICMProcess, new_place: Callable[[], Place]
) -> None:
    parameters = {**ALONE, "feedback": "self-check", "train_rows": 5, "validation_rows": 0, "test_rows": 1}
    outcome = process.run(new_place(), parameters, flow="ace").require_completed()
    put = {one["role"]: one["put"] for one in outcome.summary["roles"]}
    assert put["self-check"] == put["generator"] > 5


# --- Another task ---------------------------------------------------------------------------------------


def test_formula_is_measured_with_its_formula_and_without(
    process: ICMProcess, folders: Callable[[], Path], tmp_path: Path
) -> None:
    rows = [
        {
            "context": f"Use formula Margin. Formula: M = I / R, Explanation: I: Income. Question: "
            f'"Income {number}, revenue 100: find the margin.". Answer:',
            "target": f"{number}.0",
        }
        for number in range(1, 13)
    ]
    files = {
        f"{name}_path": put_rows(tmp_path / f"{name}.jsonl", rows[place::3])
        for place, name in enumerate(("train", "validation", "test"))
    }
    learner = demo_learner()
    base = learner.rules["verns"]
    questions = {str(row["context"]): ("kept", str(row["target"])) for row in rows}
    questions |= {
        f"Income {number}, revenue 100: find the margin": ("dropped", f"{number}.0")
        for number in range(1, 13)
    }
    made = type(learner)(
        rules={"kept": type(base)(lesson="Divide.", known=True), "dropped": base}, questions=questions
    )
    parameters = {**ALONE, **files, "task": "formula", "compare_with": "formula-dropped",
                  "baselines": ["no playbook"], "train_rows": None, "validation_rows": None,
                  "test_rows": None}  # fmt: skip
    with FakeVLLM(writer=writer(made), max_model_len=CONTEXT) as fake:
        place = Place(base_url=fake.base_url, model="fake-model", folder=folders())
        outcome = process.run(place, parameters, flow="ace").require_completed()
    right = {name: (one["right"], one["total"]) for name, one in methods_of(outcome).items()}
    assert right == {"ACE": (4, 4), "no playbook": (4, 4), "no playbook, formula-dropped": (0, 4)}


# --- Tiers ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def two(folders: Callable[[], Path]) -> Iterator[Place]:
    """A server of two models: one that knows nothing, and turns each rule round; and the usual one."""
    by_model = {"small": demo_learner(poison=1, knows=()), "large": demo_learner()}
    with FakeVLLM(
        writer=writer(by_model=by_model), models=["large", "small"], max_model_len=CONTEXT
    ) as server:
        yield Place(base_url=server.base_url, model="large", folder=folders())


def costs_of(outcome: Outcome) -> dict[tuple[str, int], JsonObject]:
    return {(one["role"], one["tier"]): one for one in outcome.summary["roles"]}


TIERS: JsonObject = {**ALONE, "train_rows": 10, "validation_rows": 0}


def test_a_larger_model_takes_over_what_the_small_one_is_not_sure_of(process: ICMProcess, two: Place) -> None:
    generator = [{"model": "small", "min_confidence": 0.9}, {}]  # the fake is sure of 70 % of each token
    outcome = process.run(two, {**TIERS, "generator": generator}, flow="ace").require_completed()
    costs = costs_of(outcome)
    for role in ("generator", "test"):
        small, large = costs[role, 0], costs[role, 1]
        assert (small["model"], large["model"]) == ("small", "large")
        assert small["put"] == large["put"] == large["took_over"] > 0
        assert large["rescued"] == 0  # the small one had answers, and was not sure of them
        assert small["cost"]["sent"] == small["put"]
        assert small["took_over"] == small["gained"] == 0
    assert methods_of(outcome)["ACE"]["right"] > KNOWN
    test = costs["test", 1]
    assert (test["gained"], test["lost"]) == (KNOWN, 0)  # lessons, the small one can apply as well
    rows = read_rows(outcome.directory / "answers.jsonl")
    assert {row["tier"] for row in rows} == {1}


def test_what_the_small_model_is_sure_of_stays_with_it(process: ICMProcess, two: Place) -> None:
    generator = [{"model": "small", "min_confidence": 0.5}, {}]
    outcome = process.run(two, {**TIERS, "generator": generator}, flow="ace").require_completed()
    costs = costs_of(outcome)
    assert ("generator", 1) not in costs
    assert ("test", 1) not in costs
    assert {row["tier"] for row in read_rows(outcome.directory / "answers.jsonl")} == {0}


def test_a_review_that_did_not_help_calls_for_a_better_reviewer(process: ICMProcess, two: Place) -> None:
    parameters = {**TIERS, "reflector": [{"model": "small"}, {"model": "large"}]}
    outcome = process.run(two, parameters, flow="ace").require_completed()
    costs = costs_of(outcome)
    wrong = outcome.summary["stops"]["corrected"]
    assert wrong
    assert costs["reflector", 0]["put"] == 10  # once each
    large = costs["reflector", 1]
    assert large["put"] == large["took_over"] == large["gained"] == wrong
    assert large["rescued"] == 0  # the small one's reviews could be read
    assert all(len(attempts) in {1, 3} for step in steps_of(outcome) for attempts in step["attempts"])
    assert outcome.summary["bullets"] > 0


def test_an_estimate_puts_every_question_to_every_tier(
    process: ICMProcess, two: Place, folders: Callable[[], Path]
) -> None:
    place = replace(two, folder=folders())
    parameters = {**TIERS, "generator": [{"model": "small"}, {"model": "large"}], "estimate": True}
    found = process.run(place, parameters, flow="ace").require_completed().summary
    alone = process.run(place, {**TIERS, "estimate": True}, flow="ace").require_completed().summary
    assert found["to_send"] == alone["to_send"] + 10 * 4 + 12  # four attempts a row, and the test


def test_the_sum_over_roles_and_tiers_is_the_whole(process: ICMProcess, two: Place) -> None:
    tiers = [{"model": "small", "min_confidence": 0.9, "max_output_tokens": 900}, {"model": "large"}]
    parameters = {
        **TIERS, "train_rows": 5, "reflector": tiers, "curator": tiers, "feedback": "self-check",
        "baselines": ["cheat-sheet"],
    }  # fmt: skip
    outcome = process.run(two, parameters, flow="ace").require_completed()
    costs, cost = costs_of(outcome), outcome.summary["cost"]
    assert costs["self-check", 1]["put"]
    assert (costs["cheat-sheet writer", 1]["model"], costs["cheat-sheet writer", 1]["put"]) == ("large", 1)
    assert sum(one["put"] for one in costs.values()) == cost["prompts"]
    for ours, whole in (("sent", cost["sent"]), ("output_tokens", cost["usage"]["output_tokens"])):
        assert sum(one["cost"][ours] for one in costs.values()) == whole
