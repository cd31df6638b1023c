import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.plain_text import UnreadableError, cleaned, decoded


@pytest.mark.parametrize("name", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_says_the_encoding(name: str) -> None:
    assert decoded("Müller §".encode(name)) == "Müller §"


@pytest.mark.parametrize("name", ["utf-16-le", "utf-16-be", "utf-32-le", "utf-32-be"])
def test_a_byte_order_mark_goes_before_the_encoding_that_is_given(name: str) -> None:
    assert decoded("\ufeffMüller".encode(name), "cp1252") == "Müller"


def test_an_encoding_is_not_guessed() -> None:
    with pytest.raises(UnreadableError, match=r"it is no utf-8 text \(byte 0xfc at 1\); convert it to UTF-8"):
        decoded("Müller".encode("cp1252"))
    assert decoded("Müller".encode("cp1252"), "cp1252") == "Müller"


def test_a_binary_file_is_told() -> None:
    with pytest.raises(UnreadableError, match="it is binary"):
        decoded(b"GIF89a\x00\x01")


def test_line_ends_are_one_kind_and_controls_are_blanks() -> None:
    assert cleaned("\ufeffa\r\nb\rc\fd\x00e\x1bf\tg\x85h\u2028i") == "a\nb\nc\nd e f\tg\nh\u2028i"


def test_half_a_surrogate_pair_is_a_replacement_character() -> None:
    assert cleaned(json.loads(r'"a\ud800b \ud83d\ude00"')) == "a\ufffdb 😀"


@given(st.text(st.characters(codec=None)))
def test_what_is_cleaned_can_be_written_and_read_back(text: str) -> None:
    clean = cleaned(text)

    assert json.loads(json.dumps(clean, ensure_ascii=False).encode().decode()) == clean
    assert cleaned(clean.removeprefix("\ufeff")) == clean.removeprefix("\ufeff")
    assert len(clean) == len(text.removeprefix("\ufeff").replace("\r\n", "\n"))
