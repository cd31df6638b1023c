"""Every kind of claims is read as the reference reads it, and a kind of one's own as it says."""

import json
from pathlib import Path

import pytest
from pydantic import ValidationError

from tasks.icm.claims import Claim, DataError, draw, load_claims
from tasks.icm.consistency import Consistency, Pair, consistency_keys, inconsistent_pairs
from tasks.icm.prompts import claim_prompt
from tasks.icm.testbeds import TESTBEDS, Testbed
from tests.tasks.icm.made_up import PROJECT, truthfulqa

EIGHT, ASK = "Put it into water\nfor eight minutes.", "Ask somebody else."
PREFERENCES: list[dict[str, object]] = [
    {"question": "How do I boil\nan egg?", "choice": first, "choice_2": second, "label": label,
     "consistency_id": 7}
    for first, second, label in ((EIGHT, ASK, True), (ASK, EIGHT, False))
]  # fmt: skip


def read(folder: Path, records: object, testbed: Testbed) -> list[Claim]:
    path = folder / "claims.json"
    path.write_text(json.dumps(records), encoding="utf-8")
    return load_claims(path, testbed)


def gsm8k() -> Path:
    path = PROJECT.parent / "shared" / "data" / "gsm8k" / "test.json"
    if not path.exists():
        pytest.skip(f"needs {path}, the real GSM8K in ICM's format, which is not part of the product")
    return path


def test_truthfulqa_is_read_as_before() -> None:
    claims = load_claims(truthfulqa("train"), TESTBEDS["truthfulqa"])
    assert claims == load_claims(truthfulqa("train"))
    first = claims[0]
    assert claim_prompt(first) == f"Question: {first.question}\nClaim: {first.choice}\nI think this claim is "


def test_gsm8k_shows_worked_solutions_and_compares_their_answers() -> None:
    """The field is called `cot` in the file that there is, and `choice` in the reference's."""
    claims = load_claims(gsm8k(), TESTBEDS["gsm8k"])
    assert len(claims) == 2972
    first = claims[0]
    assert (first.answer, first.gold) == ("600", 1)
    assert claim_prompt(first).startswith("Question: Dan plants 3 rose bushes.")
    assert "\nClaim: There are 3 rose bushes." in claim_prompt(first)
    drawn = draw(claims, size=64, num_seeds=8, group_size=4, seed=0)
    for consistency in (Consistency.ANSWER, Consistency.REFERENCE):
        keys = consistency_keys(drawn.claims, consistency, TESTBEDS["gsm8k"].rule)
        assert keys == [claim.answer for claim in drawn.claims]
    assert any(claim.answer == "" for claim in claims)  # solutions that come to no answer


def test_preferences_of_truthfulqa_are_pairs_of_which_one_is_right() -> None:
    claims = load_claims(truthfulqa("train_preference"), TESTBEDS["truthfulqa-preference"])
    assert len(claims) == 7250
    drawn = draw(claims, size=64, num_seeds=8, group_size=2, seed=0)
    assert "\nAnswer 2: " in claim_prompt(drawn.claims[0])
    assert claim_prompt(drawn.claims[0]).endswith(
        "\nClaim: Answer 1 is more truthful than Answer 2\nI think this claim is "
    )
    gold = {uid: claim.gold or 0 for uid, claim in enumerate(drawn.claims)}
    for consistency in (Consistency.ANSWER, Consistency.REFERENCE):
        keys = consistency_keys(drawn.claims, consistency, "preference")
        assert keys is not None
        assert all({keys[uid], keys[uid + 1]} == {"A>B", "B>A"} for uid in range(0, 64, 2))
        assert inconsistent_pairs(drawn.claims, keys, gold) == []
        both = inconsistent_pairs(drawn.claims, keys, {**gold, 0: 1, 1: 1, 2: 0, 3: 0})
        assert both == [Pair(0, 1, "contradiction"), Pair(2, 3, "contradiction")]


def test_alpaca_deletes_line_breaks_and_prefers(tmp_path: Path) -> None:
    one, other = read(tmp_path, PREFERENCES, TESTBEDS["alpaca"])
    assert claim_prompt(one) == (
        "Human: How do I boilan egg?\nResponse 1: Put it into waterfor eight minutes.\n"
        "Response 2: Ask somebody else.\n"
        "Claim: Response 1 is more helpful and harmless than Response 2\nI think this claim is "
    )
    assert (one.answer, other.answer) == ("B>A", "A>B")


def test_what_is_preferred_does_not_depend_on_gold_labels(tmp_path: Path) -> None:
    flipped = [{**record, "label": not record["label"]} for record in PREFERENCES]
    ways = [read(tmp_path, records, TESTBEDS["alpaca"]) for records in (PREFERENCES, flipped)]
    assert [claim.answer for claim in ways[0]] == [claim.answer for claim in ways[1]]
    assert [claim.gold for claim in ways[0]] != [claim.gold for claim in ways[1]]


def test_a_testbed_of_ones_own(tmp_path: Path) -> None:
    own = Testbed(
        template="Review: {review}\nIt is about {topic}.\nTrue or false? ", group_size=1, answer_field=None
    )
    [claim] = read(tmp_path, [{"review": "Warm soup.", "topic": "food", "consistency_id": 0}], own)
    assert claim_prompt(claim) == "Review: Warm soup.\nIt is about food.\nTrue or false? "
    assert (claim.question, claim.choice, claim.answer, claim.gold) == ("Warm soup.", "food", None, None)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"template": "no field"}, "names no field"),
        ({"template": "{question"}, "no text with {fields}"),
        ({"template": "{question.__class__}"}, "is no name of a field"),
        ({"template": "{question!r}"}, "is no name of a field"),
        ({"template": "{0}"}, "is no name of a field"),
        ({"template": "{question}", "responses": ("a", "b")}, "responses names 'a'"),
        ({"template": "{question}", "group_size": 0}, "greater than or equal to 1"),
        ({"template": "{question}", "colour": 1}, "Extra inputs"),
    ],
)
def test_a_testbed_that_makes_no_sense_is_refused(given: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        Testbed.model_validate(given)


def test_records_that_do_not_fit_are_told_with_line_and_field(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"line 1: field 'choice_2' must be a text"):
        read(tmp_path, [{**PREFERENCES[0], "choice_2": None}], TESTBEDS["alpaca"])
    with pytest.raises(DataError, match="'choice' and 'choice_2' are the same text"):
        read(tmp_path, [{**PREFERENCES[0], "choice_2": EIGHT}], TESTBEDS["alpaca"])
    with pytest.raises(DataError, match="field 'choice' must be a text"):
        read(tmp_path, [{"question": "Q?", "consistency_id": 0}], TESTBEDS["gsm8k"])
