"""Answers as models write them: what is whole is read, what is broken loses only what is broken."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.parsing import LOOP_CHARACTERS, Parsed, parse
from tasks.extraction.values import Item

LABELS = ("person", "place")
ADA, ROME = Item(label="person", text="Ada"), Item(label="place", text="Rome")
WHOLE = '{"entities": [{"label": "person", "text": "Ada"}, {"label": "place", "text": "Rome"}]}'


def read(text: str, finish_reason: str = "stop") -> Parsed:
    return parse(text, finish_reason, LABELS)


@pytest.mark.parametrize(
    "text",
    [
        WHOLE,
        f"Here it is:\n```json\n{WHOLE}\n```\nThat is all.",
        f"```\n{WHOLE}\n```\n```json\n{WHOLE}\n```",
        '{"entities": [{"label": "person", "text": "Ada"}]} [{"label": "place", "text": "Rome"}]',
        f"<think>maybe [1] or {{2}}</think>{WHOLE}",
        f"The set {{x}} is: {WHOLE}",
        f"As {{a}}, {{b}}, {{c}}, {{d}} and {{e}} say: {WHOLE}",
        f"See the note [1]: {WHOLE}",
        '[{"label": "person", "text": "Ada"}, {"label": "place", "text": "Rome"}]',
        "{'entities': [{'label': 'person', 'text': 'Ada'}, {'label': 'place', 'text': 'Rome'}]}",
        "[{'label': 'person', 'text': 'Ada'}, {'label': 'place', 'text': 'Rome'}]",
        '{"entities": [{"label": "person", "text": "Ada"}, {"label": "place", "text": "Rome"},],}',
    ],
)
def test_a_whole_answer_is_read_however_it_is_wrapped(text: str) -> None:
    assert read(text) == Parsed(items=(ADA, ROME))


@pytest.mark.parametrize(
    "text",
    [
        f"{WHOLE}\n{WHOLE[:40]}",
        f"[{{}}]\n{WHOLE[:60]}",
        f"```json\n{WHOLE}\n```\nAnd: " + WHOLE[:30],
        '{"label": "person", "text": "Ada"}\n{"label": "place", "te',
        f"{WHOLE}\nAnd there",
    ],
)
def test_what_runs_into_its_limit_behind_something_whole_is_cut_off(text: str) -> None:
    parsed = read(text, "length")
    assert parsed.problem == "cut off"
    assert (ADA in parsed.items) == ("Ada" in text)


def test_a_broken_block_before_a_whole_one_is_asked_for_again_and_keeps_its_items() -> None:
    broken = '[{"label": "person", "text": "Ada"}, {"label": "person", "text": }]'
    assert read(f'{broken}\n[{{"label": "place", "text": "Rome"}}]') == Parsed(
        items=(ADA, ROME), problem="no JSON"
    )


def test_a_broken_item_is_missed_in_other_quotes_too() -> None:
    assert read(f"{WHOLE}\n{{'label': 'person', 'text': }}") == Parsed(items=(ADA, ROME), problem="no JSON")


def test_what_is_loose_is_text_whatever_it_looks_like() -> None:
    items = read("{entities: [{label: person, text: No}, {label: person, text: 1984-01-31}]}").items
    assert [item.text for item in items] == ["No", "1984-01-31"]


def test_an_item_that_is_said_again_on_a_line_of_its_own_is_another_one() -> None:
    line = '{"label": "person", "text": "Ada"}'
    assert read(f"{line}\n{line}\n{line}") == Parsed(items=(ADA, ADA, ADA))


@pytest.mark.parametrize(
    "text",
    [
        '{"entities": [{"label": "person", "text": "Ada", "label": "place", "text": "Rome"}]}',
        f'{WHOLE[:48]}], "entities": [{WHOLE[49:]}',
        '{"label": "person", "text": "Ada", "label": "place", "text": "Rome"}',
    ],
)
def test_what_is_said_twice_in_one_object_is_not_lost(text: str) -> None:
    assert read(text) == Parsed(items=(ADA, ROME))


@pytest.mark.parametrize(("characters", "is_item"), [(399, True), (400, False), (500, False)])
def test_a_text_as_long_as_it_may_be_was_perhaps_cut_off_and_is_no_item(
    characters: int, *, is_item: bool
) -> None:
    items = [{"label": "person", "text": "Ada"}, {"label": "person", "text": "x" * characters}]
    parsed = read(json.dumps({"entities": items}))
    assert (len(parsed.items), parsed.invalid, parsed.problem) == ((2, 0, None) if is_item else (1, 1, None))


def test_an_answer_of_which_nothing_is_an_item_is_asked_for_again() -> None:
    nobody = json.dumps({"entities": [{"label": "nobody", "text": "Ada"}, {"text": "Rome"}]})
    assert read(nobody) == Parsed(items=(), invalid=2, problem="no item")
    assert read('{"entities": []}') == Parsed(items=())


def test_of_an_attribute_that_is_said_twice_the_last_counts() -> None:
    [item] = read('[{"label": "person", "text": "Ada", "attributes": {"a": "x", "a": "y"}}]').items
    assert item.attributes == {"a": "y"}


@pytest.mark.parametrize(
    "text",
    [
        f'{WHOLE}\n{{"label": "person", "text": "Bo',
        f'{WHOLE[:-2]}, {{"label": "person", "te',
        f'[{WHOLE[14:-2]}, {{"label": "person", "te',
    ],
)
def test_an_answer_that_ends_within_an_item_is_not_whole_whatever_the_server_says(text: str) -> None:
    assert read(text) == Parsed(items=(ADA, ROME), problem="no JSON")
    assert read(text, "length") == Parsed(items=(ADA, ROME), problem="cut off")


@pytest.mark.parametrize("text", [f"```json\n{WHOLE}\n```", f"Here:\n{WHOLE}\n", f"The set {{x}}: {WHOLE}"])
def test_what_comes_before_an_answer_that_just_fits_does_not_matter(text: str) -> None:
    assert read(text, "length") == Parsed(items=(ADA, ROME))


def test_an_answer_in_a_list_is_one() -> None:
    assert read(f"[{WHOLE}]") == Parsed(items=(ADA, ROME))


@pytest.mark.parametrize(
    "text",
    [
        f"maybe {WHOLE[:-44]}]}} or so</think>{WHOLE}",
        f"<think>{WHOLE}</think>{WHOLE}",
        f"<think>I end with </think>{WHOLE[:-44]}]}} </think>{WHOLE}",
    ],
)
def test_what_was_only_thought_is_no_answer(text: str) -> None:
    assert read(text) == Parsed(items=(ADA, ROME))


def test_thoughts_without_an_end_are_no_answer() -> None:
    assert read(f"<think>{WHOLE}", "length") == Parsed(items=(), problem="cut off")


def test_marks_of_thoughts_in_an_item_are_its_text() -> None:
    [item] = read('{"entities": [{"label": "person", "text": "the mark <think> in it"}]}').items
    assert item.text == "the mark <think> in it"


def test_halves_of_characters_are_replaced() -> None:
    [item] = read('{"label": "person", "text": "Ada", "attributes": {"role": "j\\ud800"}}').items
    assert item.attributes == {"role": "j\ufffd"}
    [item] = read('{"entities": [{"label": "person", "text": "A\\ud800da"}]}').items
    assert item.text == "A\ufffdda"
    [item] = read('{"entities": [{"label": "person", "text": "\\ud83d\\ude00"}]}').items
    assert item.text == "\U0001f600"


def test_one_bare_item_is_an_answer() -> None:
    assert read('{"label": "person", "text": "Ada"}') == Parsed(items=(ADA,))


@pytest.mark.parametrize("text", ['{"entities": []}', "[]", "```json\n[]\n```"])
def test_nothing_found_is_an_answer(text: str) -> None:
    assert read(text) == Parsed(items=())


def test_one_bad_item_costs_only_itself() -> None:
    text = json.dumps(
        {
            "entities": [
                {"label": "person", "text": "Ada"},
                {"label": "person", "text": None},
                {"label": "animal", "text": "Cat"},
                {"label": "person", "text": " "},
                {"label": ["person"], "text": "Bob"},
                None,
                "Ada",
                {"label": "place", "text": "Rome"},
            ]
        }
    )
    assert read(text) == Parsed(items=(ADA, ROME), invalid=6)


def test_a_cut_off_answer_keeps_its_complete_items_and_no_half_one() -> None:
    text = '{"entities": [{"label": "person", "text": "Ada"}, {"label": "place", "text": "Ro'
    assert read(text, "length") == Parsed(items=(ADA,), problem="cut off")


@given(cut=st.integers(min_value=0, max_value=len(WHOLE) - 1))
def test_wherever_an_answer_is_cut_off_its_complete_items_are_there(cut: int) -> None:
    text = WHOLE[:cut]
    expected = [item for item, end in ((ADA, '"Ada"}'), (ROME, '"Rome"}')) if end in text]
    assert read(text, "length") == Parsed(items=tuple(expected), problem="cut off")


def test_blanks_to_the_limit_are_a_loop() -> None:
    text = '{"entities": [{"label": "person", "text": "Ada"},' + "\n " * LOOP_CHARACTERS
    assert read(text, "length") == Parsed(items=(ADA,), problem="whitespace loop")


@pytest.mark.parametrize(
    ("blanks", "problem"), [(LOOP_CHARACTERS, "cut off"), (LOOP_CHARACTERS + 1, "whitespace loop")]
)
def test_some_blanks_are_no_loop(blanks: int, problem: str) -> None:
    assert LOOP_CHARACTERS == 64
    assert read('{"entities": [' + " " * blanks, "length").problem == problem


@pytest.mark.parametrize("answer", [WHOLE + " " * 200, f"```\n{WHOLE}\n```\n", f"{WHOLE}\r\n\t"])
def test_an_answer_that_is_whole_before_its_limit_is_whole(answer: str) -> None:
    assert read(answer, "length") == Parsed(items=(ADA, ROME))


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("There are no entities in this text.", "no JSON"),
        ("", "no JSON"),
        ("{", "no JSON"),
        ('{"people": ["Ada"]}', "other JSON"),
        ('{"entities": "Ada"}', "other JSON"),
        ("[1, 2]", "other JSON"),
        ('{"text": "Ada"}', "other JSON"),
        ('{"label": "person"}', "other JSON"),
        ('[{"label": "person", "text": "Ada"}, 3]', "other JSON"),
    ],
)
def test_what_is_no_answer_says_why(text: str, problem: str) -> None:
    assert read(text) == Parsed(items=(), problem=problem)  # pyright: ignore[reportArgumentType]


def test_attributes_become_texts_and_empty_ones_are_left_out() -> None:
    given_attributes = {
        "role": " buyer ",
        "empty": "",
        "none": None,
        "n": 3,
        "share": 0.5,
        "yes": True,
        "all": ["a", 1, ["x"]],
    }
    answer = {"entities": [{"label": "person", "text": "Ada", "attributes": given_attributes}]}
    [item] = read(json.dumps(answer)).items
    assert item.attributes == {"role": "buyer", "n": "3", "share": "0.5", "yes": "true", "all": "a; 1"}


@pytest.mark.parametrize("attributes", [["judge"], "judge", 3, None, {}])
def test_attributes_that_are_none_leave_their_item_whole(attributes: object) -> None:
    answer = {"entities": [{"label": "person", "text": "Ada", "attributes": attributes}]}
    assert read(json.dumps(answer)) == Parsed(items=(ADA,))


@pytest.mark.parametrize("label", [["person"], {"person": 1}, 3, None])
def test_a_label_that_is_no_text_is_none_of_any_labels(label: object) -> None:
    answer = json.dumps({"entities": [{"label": label, "text": "Ada"}]})
    assert parse(answer, "stop", frozenset(LABELS)) == Parsed(items=(), invalid=1, problem="no item")


@pytest.mark.parametrize(
    "text", ["[" * 5000, "[" * 5000 + "]" * 5000, '{"a":' * 5000, "{" * 5000, '["x", ' * 3000]
)
def test_deep_nesting_is_no_answer_and_no_crash(text: str) -> None:
    assert read(text) == Parsed(items=(), problem="no JSON")


@given(st.text(max_size=200))
def test_any_text_is_read_without_an_error(text: str) -> None:
    parsed = read(text)
    assert all(item.label in LABELS and item.text.strip() for item in parsed.items)


@given(st.lists(st.text(min_size=1, max_size=20).filter(str.strip), max_size=8))
def test_what_json_says_is_what_is_read(texts: list[str]) -> None:
    answer = json.dumps({"entities": [{"label": "person", "text": text} for text in texts]})
    assert [item.text for item in read(answer).items] == texts
