"""Reading claims and drawing them."""

import json
import random
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.icm.claims import Claim, DataError, Draw, batch_seed, draw, draw_batches, load_claims
from tests.tasks.icm.made_up import made_claims, truthfulqa, truthfulqa_train

GOOD = {"question": "Q?", "choice": "C.", "label": 1, "consistency_id": 3}


def written(folder: Path, text: str) -> Path:
    path = folder / "claims.json"
    path.write_text(text, encoding="utf-8")
    return path


def error_of(path: Path) -> str:
    with pytest.raises(DataError) as caught:
        load_claims(path)
    return str(caught.value)


def record(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - any JSON
    return {name: value for name, value in {**GOOD, **changes}.items() if value != "gone"}


# --- reading --------------------------------------------------------------------------------------------


def test_json_list_and_json_lines_are_the_same_claims(tmp_path: Path) -> None:
    records = [record(choice=f"C{n}.", answer=f"a{n}", label=n % 2) for n in range(5)]
    claims = load_claims(written(tmp_path, json.dumps(records)))
    assert claims == [
        Claim(
            id=n,
            question="Q?",
            choice=f"C{n}.",
            group=3,
            gold=n % 2,
            answer=f"a{n}",
            text=f"Question: Q?\nClaim: C{n}.\nI think this claim is ",
        )
        for n in range(5)
    ]
    assert load_claims(written(tmp_path, json.dumps(records, indent=2))) == claims
    assert load_claims(written(tmp_path, "\n\n".join(map(json.dumps, records)))) == claims
    assert load_claims(written(tmp_path, "\r\n".join(map(json.dumps, records)) + "\r\n")) == claims


@pytest.mark.parametrize(
    ("label", "gold"), [(0, 0), (1, 1), (True, 1), (False, 0), (None, None), ("gone", None)]
)
def test_label_is_a_number_a_boolean_or_not_there(tmp_path: Path, label: object, gold: int | None) -> None:
    [claim] = load_claims(written(tmp_path, json.dumps([record(label=label)])))
    assert claim.gold == gold
    assert type(claim.gold) is type(gold)


def test_other_fields_are_ignored(tmp_path: Path) -> None:
    [claim] = load_claims(written(tmp_path, json.dumps([record(category="x", votes=[1, 2])])))
    assert (claim.choice, claim.answer) == ("C.", None)


def test_text_is_kept_as_it_is_whatever_the_alphabet(tmp_path: Path) -> None:
    texts = [
        "A opção é «correta»?",
        "東京は首都です。",
        "\U0001d518 \U0001f9ea",
        '  "quotes" \\ and \n newlines\t',
    ]
    for ensure_ascii in (True, False):
        lines = "".join(json.dumps(record(choice=t), ensure_ascii=ensure_ascii) + "\n" for t in texts)
        assert [claim.choice for claim in load_claims(written(tmp_path, lines))] == texts
        listed = json.dumps([record(choice=t) for t in texts], ensure_ascii=ensure_ascii)
        assert [claim.choice for claim in load_claims(written(tmp_path, listed))] == texts


@pytest.mark.parametrize("separator", ["\u2028", "\u2029", "\x85"])
def test_unicode_line_separators_within_a_text_do_not_end_a_json_line(tmp_path: Path, separator: str) -> None:
    """JSON allows them in strings, and writers that keep non-ASCII characters leave them there."""
    text = f"one{separator}two"
    lines = json.dumps(record(choice=text), ensure_ascii=False) + "\n"
    assert [claim.choice for claim in load_claims(written(tmp_path, lines))] == [text]


def test_group_may_be_a_text(tmp_path: Path) -> None:
    [claim] = load_claims(written(tmp_path, json.dumps([record(consistency_id="q-1")])))
    assert claim.group == "q-1"


MALFORMED = {
    "no question": (record(question="gone"), "'question'"),
    "question is a number": (record(question=5), "'question'"),
    "choice is empty": (record(choice="  "), "'choice'"),
    "choice is null": (record(choice=None), "'choice'"),
    "choice is half a pair": (record(choice="a\ud800"), "'choice'"),
    "answer is a number": (record(answer=600), "'answer'"),
    "answer is blank": (record(answer=" "), "'answer'"),
    "no group": (record(consistency_id="gone"), "'consistency_id'"),
    "group is a boolean": (record(consistency_id=True), "'consistency_id'"),
    "group is a fraction": (record(consistency_id=1.5), "'consistency_id'"),
    "label is a text": (record(label="1"), "'label'"),
    "label is 2": (record(label=2), "'label'"),
    "label is a list": (record(label=[1]), "'label'"),
    "record is a list": (["Q?", "C."], "a record is a JSON object, not list"),
    "record is a number": (7, "a record is a JSON object, not int"),
}


@pytest.mark.parametrize(("bad", "named"), MALFORMED.values(), ids=MALFORMED)
def test_malformed_record_is_named_by_file_line_and_field(tmp_path: Path, bad: object, named: str) -> None:
    path = written(tmp_path, "\n".join(map(json.dumps, [GOOD, GOOD, bad, GOOD])))
    assert f"{path}, line 3" in error_of(path)
    assert named in error_of(path)
    path = written(tmp_path, "[\n" + ",\n".join(map(json.dumps, [GOOD, GOOD, bad, GOOD])) + "\n]")
    assert f"{path}, line 4" in error_of(path)
    assert named in error_of(path)


def test_error_shows_the_value_that_was_found(tmp_path: Path) -> None:
    assert "must be 0, 1, true or false, not 'yes'" in error_of(
        written(tmp_path, json.dumps([record(label="yes")]))
    )


def test_line_of_a_record_is_where_it_starts(tmp_path: Path) -> None:
    text = json.dumps([GOOD, record(label=9)], indent=1)
    line = text[: text.rindex("{")].count("\n") + 1
    assert f"line {line}:" in error_of(written(tmp_path, text))


@pytest.mark.parametrize("keep", [0.2, 0.5, 0.77, 0.97])
def test_truncated_json_list_is_an_error_that_names_file_and_line(tmp_path: Path, keep: float) -> None:
    text = json.dumps([record(choice=f"C{n}") for n in range(6)], indent=1)
    path = written(tmp_path, text[: int(len(text) * keep)])
    assert f"{path}, line " in error_of(path)


def test_json_list_cut_off_between_records_is_named_with_its_last_line(tmp_path: Path) -> None:
    path = written(tmp_path, f"[{json.dumps(GOOD)},\n{json.dumps(GOOD)}")
    assert f"{path}, line 2: not JSON" in error_of(path)


@pytest.mark.parametrize(
    "text", ["[R]\n[R]", "[R] tail", "[R R]", "[R,, R]"], ids=["two lists", "tail", "no comma", "two commas"]
)
def test_json_list_that_is_no_json_is_an_error_and_loses_no_record_silently(
    tmp_path: Path, text: str
) -> None:
    path = written(tmp_path, text.replace("R", json.dumps(GOOD)))
    assert f"{path}, line " in error_of(path)


def test_truncated_json_line_is_named(tmp_path: Path) -> None:
    path = written(tmp_path, f"{json.dumps(GOOD)}\n{json.dumps(GOOD)[:20]}")
    assert f"{path}, line 2: not JSON" in error_of(path)


@pytest.mark.parametrize("text", ["", "\n \n", "[]", "[ \n ]"])
def test_empty_file_is_an_error(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert error_of(path) == f"the data set {path} is empty"


def test_missing_file_and_folder_are_errors_that_name_them(tmp_path: Path) -> None:
    for path in (tmp_path / "nowhere.json", tmp_path):
        message = error_of(path)
        assert str(path) in message
        assert "cannot be read" in message


def test_bytes_that_are_no_utf_8_are_an_error(tmp_path: Path) -> None:
    path = tmp_path / "latin.json"
    path.write_bytes('[{"question": "Olá?"}]'.encode("latin-1"))
    assert "cannot be read" in error_of(path)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1), st.booleans()), min_size=1, max_size=6))
def test_what_json_writes_is_what_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, bool]]
) -> None:
    rows = [(f"q{question}", f"c{choice}", label) for question, choice, label in rows]
    records = [record(question=q, choice=c, label=label) for q, c, label in rows]
    path = written(tmp_path_factory.mktemp("claims"), "\n".join(map(json.dumps, records)))
    assert [(claim.question, claim.choice, bool(claim.gold)) for claim in load_claims(path)] == rows


def test_real_truthfulqa_is_read_whole() -> None:
    train, test = truthfulqa_train(), load_claims(truthfulqa("test"))
    assert (len(train), len({claim.group for claim in train}), sum(bool(c.gold) for c in train)) == (
        2608,
        652,
        1194,
    )
    assert (len(test), len({claim.group for claim in test}), sum(bool(c.gold) for c in test)) == (
        1000,
        144,
        432,
    )


# --- drawing --------------------------------------------------------------------------------------------

FACT_9 = [
    (27565976, 64, [980, 2144, 1128], [650, 282, 689], [1, 0, 0, 0, 1, 0, 1, 1], 0.43292716876429893),
    (27565976, 256, [980, 2144, 1128], [650, 282, 689], [0, 0, 0, 1, 1, 1, 0, 1], 0.19645276467092),
    (0, 64, [1576, 1720, 164], None, [0, 1, 1, 0, 0, 1, 0, 1], None),
]


@pytest.mark.parametrize(("seed", "size", "starts", "groups", "labels", "following"), FACT_9)
def test_fact_9_batch_and_seed_labels_of_the_reference(
    seed: int,
    size: int,
    starts: list[int],
    groups: list[int] | None,
    labels: list[int],
    following: float | None,
) -> None:
    drawn = draw(truthfulqa_train(), size=size, num_seeds=8, group_size=4, seed=seed)
    assert len(drawn.claims) == size
    assert [claim.id for claim in drawn.claims[:12]] == [start + n for start in starts for n in range(4)]
    assert groups is None or [drawn.claims[place].group for place in (0, 4, 8)] == groups
    assert drawn.seed_labels == dict(enumerate(labels))
    # The number that the stream gives next shows that the reference draws these and nothing else.
    stream = random.Random(seed)
    blocks = stream.sample(range(652), size // 4)
    shuffled = [1] * 4 + [0] * 4
    stream.shuffle(shuffled)
    assert [claim.id // 4 for claim in drawn.claims[::4]] == blocks
    assert list(drawn.seed_labels.values()) == shuffled
    assert following is None or stream.random() == pytest.approx(following, rel=1e-14)


@pytest.mark.parametrize("num_seeds", [2, 6, 12])
def test_seed_labels_are_as_many_true_as_false_and_the_first(num_seeds: int) -> None:
    for seed in range(5):
        drawn = draw(made_claims(6), size=16, num_seeds=num_seeds, group_size=4, seed=seed)
        assert list(drawn.seed_labels) == list(range(num_seeds))
        assert sum(drawn.seed_labels.values()) == num_seeds // 2


def test_whole_groups_are_drawn_also_where_they_are_not_contiguous() -> None:
    claims = made_claims(8)
    mixed = random.Random(1).sample(claims, len(claims))
    drawn = draw(mixed, size=12, num_seeds=4, group_size=4, seed=5).claims
    for start in (0, 4, 8):
        assert len({claim.group for claim in drawn[start : start + 4]}) == 1
    assert len(set(drawn)) == 12


def test_draw_depends_on_the_seed_alone() -> None:
    claims = made_claims(30)
    draws = [draw(claims, size=40, num_seeds=8, group_size=4, seed=seed) for seed in (1, 2, 1)]
    assert draws[0] == draws[2] != draws[1]


def test_group_of_another_size_is_an_error_that_names_group_and_parameter() -> None:
    with pytest.raises(
        DataError,
        match=r"group 3, .* record 13 .* has 2 claims; .* whole groups of 4 \(parameter group_size\)",
    ):
        draw(made_claims(5)[:14], size=8, num_seeds=4, group_size=4, seed=0)


def test_more_claims_than_there_are_is_an_error_that_names_both_numbers() -> None:
    with pytest.raises(
        DataError, match=r"24 claims were asked for, and the data set has 20; lower num_claims"
    ):
        draw(made_claims(5), size=24, num_seeds=4, group_size=4, seed=0)
    assert len(draw(made_claims(5), size=20, num_seeds=4, group_size=4, seed=0).claims) == 20


# --- batches --------------------------------------------------------------------------------------------


def batches_of(claims: Sequence[Claim], batches: int | None = None, **changed: int) -> list[Draw]:
    numbers = {"size": 16, "num_seeds": 8, "group_size": 4, "seed": 0, **changed}
    return draw_batches(claims, batches=batches, **numbers)


@given(
    groups=st.integers(1, 30),
    groups_of_a_batch=st.integers(1, 9),
    group_size=st.integers(1, 4),
    half_seeds=st.integers(1, 8),
    seed=st.integers(0, 3),
)
def test_every_claim_is_in_one_batch_or_a_sentence_says_what_to_lower(
    groups: int, groups_of_a_batch: int, group_size: int, half_seeds: int, seed: int
) -> None:
    claims = made_claims(groups, group_size)
    size, num_seeds = groups_of_a_batch * group_size, 2 * half_seeds
    numbers = {"size": size, "num_seeds": num_seeds, "group_size": group_size, "seed": seed}
    try:
        drawn = draw_batches(claims, batches=None, **numbers)
    except DataError as error:
        assert re.search("lower num_claims|lower num_seeds|num_seeds is", str(error))  # noqa: PT017
        if works := re.search(r"lower num_claims to (\d+)", str(error)):
            draw_batches(claims, batches=None, **{**numbers, "size": int(works[1])})
        return
    assert drawn[0] == draw(claims, **numbers)
    assert sorted(claim.id for batch in drawn for claim in batch.claims) == list(range(len(claims)))
    for batch in drawn:
        assert num_seeds <= len(batch.claims) <= size
        assert list(batch.seed_labels) == list(range(num_seeds))
        assert sum(batch.seed_labels.values()) == half_seeds
        together = [
            batch.claims[place : place + group_size] for place in range(0, len(batch.claims), group_size)
        ]
        assert all(len({claim.group for claim in group}) == 1 for group in together)
    for number in range(1, len(drawn) + 1):
        assert draw_batches(claims, batches=number, **numbers) == drawn[:number]
    with pytest.raises(DataError, match=f"{len(drawn) + 1} batches were asked for.*lower batches"):
        draw_batches(claims, batches=len(drawn) + 1, **numbers)


@pytest.mark.parametrize(
    ("groups", "sizes"),
    [(8, [16, 16]), (10, [16, 16, 8]), (9, [16, 12, 8]), (4, [16]), (6, [16, 8])],
)
def test_the_last_batch_is_smaller_and_one_too_small_to_start_shares_with_the_one_before(
    groups: int, sizes: list[int]
) -> None:
    assert [len(batch.claims) for batch in batches_of(made_claims(groups))] == sizes


def test_the_first_batch_never_changes_so_a_rest_too_small_beside_it_is_an_error() -> None:
    with pytest.raises(
        DataError, match=r"4 claims are left over, .* 8 labels; lower num_claims to 12, or num_seeds"
    ):
        batches_of(made_claims(5))
    found = draw_batches(made_claims(5), size=12, batches=None, num_seeds=8, group_size=4, seed=0)
    assert [len(batch.claims) for batch in found] == [12, 8]
    with pytest.raises(DataError, match=r"8 labels; lower num_seeds$"):
        draw_batches(made_claims(3), size=8, batches=None, num_seeds=8, group_size=4, seed=0)
    assert len(batches_of(made_claims(5), 1)) == 1
    with pytest.raises(DataError, match=r"2 batches were asked for, and the data set has 1 of 16 claims"):
        batches_of(made_claims(5), 2)


def test_batches_depend_on_the_seed_and_start_differently() -> None:
    first, second = batches_of(made_claims(40)), batches_of(made_claims(40), seed=1)
    assert first == batches_of(made_claims(40)) != second
    assert len({tuple(batch.seed_labels.values()) for batch in first}) > 3
    # Shuffled: not in the order of the file.
    assert [claim.id for claim in first[1].claims[::4]] != sorted(claim.id for claim in first[1].claims[::4])


def test_a_whole_train_split_is_ten_batches_and_a_rest() -> None:
    drawn = batches_of(truthfulqa_train(), size=256)
    assert [len(batch.claims) for batch in drawn] == [*[256] * 10, 48]
    assert len({claim.id for batch in drawn for claim in batch.claims}) == 2608


def test_each_batch_has_a_seed_of_its_own_and_the_first_has_the_runs() -> None:
    assert batch_seed(7, 0) == 7
    assert len({batch_seed(seed, batch) for seed in range(5) for batch in range(20)}) == 100
    assert batch_seed(7, 3) == batch_seed(7, 3) < 2**32


def test_an_answer_that_is_null_is_no_answer(tmp_path: Path) -> None:
    [claim] = load_claims(written(tmp_path, json.dumps(record(answer=None))))
    assert claim.answer is None


@pytest.mark.parametrize("text", ["[" * 200_000, '{"label": ' + "9" * 5000 + "}"], ids=["brackets", "digits"])
def test_what_the_parser_gives_up_on_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    path = written(tmp_path, text)
    assert f"{path}, line 1" in error_of(path)
