"""The project's own claims, checked mechanically."""

import json
from collections import Counter
from itertools import combinations, groupby

import pytest

from tasks.icm.claims import Claim, draw, load_claims
from tasks.icm.consistency import Consistency, consistency_keys, inconsistent_pairs
from tests.tasks.icm.made_up import PROJECT

FOLDER = PROJECT / "data" / "general_knowledge"
QUESTIONS = {"train": range(80), "test": range(80, 112)}
SPLITS = list(QUESTIONS)
FIELDS = {"question": str, "choice": str, "label": int, "consistency_id": int, "answer": str}


def claims_of(split: str) -> list[Claim]:
    return load_claims(FOLDER / f"{split}.jsonl")


def groups_of(split: str) -> dict[int | str, list[Claim]]:
    return {
        group: list(members) for group, members in groupby(claims_of(split), key=lambda claim: claim.group)
    }


@pytest.mark.parametrize("split", SPLITS)
def test_every_record_has_the_five_fields_in_order_and_is_ascii(split: str) -> None:
    text = (FOLDER / f"{split}.jsonl").read_text(encoding="ascii")
    for line in text.splitlines():
        record = json.loads(line)
        assert list(record) == list(FIELDS)
        assert [type(value) for value in record.values()] == list(FIELDS.values())
        assert record["label"] in {0, 1}
        assert all(value == value.strip() for value in record.values() if isinstance(value, str))


@pytest.mark.parametrize("split", SPLITS)
def test_four_claims_of_one_question_stand_together(split: str) -> None:
    claims = claims_of(split)
    starts = [claim.group for claim in claims[::4]]
    assert sorted(map(int, starts)) == list(QUESTIONS[split])
    assert [claim.group for claim in claims] == [group for group in starts for _ in range(4)]
    for members in groups_of(split).values():
        assert len({claim.question for claim in members}) == 1


@pytest.mark.parametrize("split", SPLITS)
def test_half_of_the_claims_are_true_and_one_to_three_in_each_group(split: str) -> None:
    true = Counter(sum(claim.gold or 0 for claim in members) for members in groups_of(split).values())
    questions = len(QUESTIONS[split])
    assert true == {1: questions // 4, 2: questions // 2, 3: questions // 4}


@pytest.mark.parametrize("split", SPLITS)
def test_same_answer_same_label_and_different_answers_never_both_true(split: str) -> None:
    for members in groups_of(split).values():
        for one, other in combinations(members, 2):
            if one.answer == other.answer:
                assert one.gold == other.gold
            else:
                assert not (one.gold and other.gold)


@pytest.mark.parametrize("split", SPLITS)
def test_gold_labels_contradict_no_consistency_rule(split: str) -> None:
    claims = claims_of(split)
    gold = {uid: claim.gold or 0 for uid, claim in enumerate(claims)}
    for consistency in Consistency:
        assert inconsistent_pairs(claims, consistency_keys(claims, consistency), gold) == []


def test_questions_and_claims_are_distinct_within_and_between_splits() -> None:
    everything = [claim for split in SPLITS for claim in claims_of(split)]
    assert len({claim.choice.casefold() for claim in everything}) == len(everything) == 448
    assert len({claim.question.casefold() for claim in everything}) == 112


def test_all_claims_of_the_train_split_can_be_drawn() -> None:
    drawn = draw(claims_of("train"), size=320, num_seeds=8, group_size=4, seed=0)
    assert len(set(drawn.claims)) == 320
