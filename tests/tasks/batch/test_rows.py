"""Rows: what a record asks, and what is said about one that asks nothing."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backends.messages import Message
from tasks.batch.rows import InputError, Layout, Row, make_row, parse_template

JsonObject = dict[str, object]


def row(record: JsonObject | str, **layout: object) -> Row:
    return make_row(1, "line 1", record, Layout(**layout))  # pyright: ignore[reportArgumentType]


def user(text: str) -> Message:
    return Message(role="user", content=text)


def test_a_prompt_is_sent_as_it_is() -> None:
    assert row({"prompt": " Two and two are"}).prompt == " Two and two are"


def test_a_prompt_is_a_conversation_where_chat_or_system_says_so() -> None:
    assert row({"prompt": "Hi"}, chat=True).messages == (user("Hi"),)
    system = Message(role="system", content="Be brief.")
    assert row({"prompt": "Hi"}, system="Be brief.").messages == (system, user("Hi"))


def test_a_conversation_keeps_its_own_system_message() -> None:
    own: JsonObject = {"role": "system", "content": "Be long."}
    asked = row({"messages": [own, {"role": "user", "content": "Hi"}]}, system="Be brief.")
    assert asked.messages == (Message(role="system", content="Be long."), user("Hi"))


def test_a_conversation_may_be_json_text() -> None:
    assert row({"messages": '[{"role": "user", "content": "Hi"}]'}).messages == (user("Hi"),)


def test_a_column_may_be_named_and_several_be_put_together() -> None:
    record: JsonObject = {"question": "Why?", "n": 3, "prompt": "unused"}
    assert row(record, prompt_column="question").prompt == "Why?"
    template = parse_template("{n}. {question} {{so}}")
    assert row(record, template=template).prompt == "3. Why? {so}"


@given(st.dictionaries(st.from_regex(r"[a-z ]{1,8}", fullmatch=True), st.text(), min_size=1))
def test_a_template_says_the_values_and_nothing_else(values: dict[str, str]) -> None:
    template = parse_template("".join(f"<{{{name}}}>" for name in values))
    assert template.fill(values) == "".join(f"<{value}>" for value in values.values())


@pytest.mark.parametrize(
    "text", ["{a.b}", "{a[0]}", "{a!r}", "{a:>9}", "{}", "{a", "a}", "no column", "{a.__class__.__mro__}"]
)
def test_a_template_names_plain_columns_only(text: str) -> None:
    with pytest.raises(InputError, match="template"):
        parse_template(text)


BAD: list[tuple[JsonObject | str, str]] = [
    ("it is no JSON", "it is no JSON"),
    ({}, "it has no 'prompt' or 'messages' but no column"),
    ({"promt": "x"}, "but 'promt'; the parameter prompt_column"),
    ({"prompt": ""}, "'prompt' is ''; it must be a text that is not empty"),
    ({"prompt": 7}, "'prompt' is 7"),
    ({"prompt": "x" * 99 + "\ud800"}, "half of a surrogate pair"),
    ({"prompt": "x", "messages": [1]}, "both 'prompt' and 'messages'"),
    ({"messages": "hello"}, "'messages' is a text but no JSON"),
    ({"messages": 7}, "'messages' is 7; it must be a list"),
    ({"messages": ["x"]}, "message 1 is 'x'; it must have 'role' and 'content' only"),
    ({"messages": [{"role": "user", "content": "x", "name": "y"}]}, "must have 'role' and 'content'"),
    ({"messages": [{"role": "robot", "content": "x"}]}, "message 1 has the role 'robot'; there are"),
    ({"messages": [{"role": "user", "content": ["x"]}]}, "message 1 has the content ['x']"),
]


@pytest.mark.parametrize(("record", "said"), BAD)
def test_a_bad_row_says_what_is_wrong(record: JsonObject | str, said: str) -> None:
    bad = row(record)
    assert bad.problem is not None
    assert said in bad.problem
    assert (bad.prompt, bad.messages) == (None, ())


def test_a_row_without_a_column_of_the_template_is_bad() -> None:
    bad = row({"a": None}, template=parse_template("{a}"))
    assert bad.problem == "it has no 'a', which the template names"
