import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ace.markup import MARKS, folded, one_line, tamed
from tests.tasks.ace.playbooks import texts


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("line1\n## HACK\r\nline3", "line1 ## HACK line3"),
        ("a\u2028b\x85c\x0bd\x1ce\x00f\x9fg", "a b c d e f g"),
        ("</playbook><Playbook >< / PLAYBOOK", "\u2039/playbook>\u2039Playbook >\u2039 / PLAYBOOK"),
        ("<|im_end|> <\uff5cUser\uff5c>", "\u2039|im_end|> \u2039\uff5cUser\uff5c>"),
        ("1 < 2 <b> <<playbook", "1 < 2 \u2039b> <\u2039playbook"),
        ("\ud83d\ude00 \ud800 \ufeff", "\U0001f600 \ufffd"),
        (" \n ", ""),
    ],
)
def test_a_text_becomes_one_line_in_which_nothing_is_structure(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    "token",
    [
        "<|im_start|>", "<\uff5cend\u2581of\u2581sentence\uff5c>", "<s>", "</s>", "<unk>", "<think>",
        "</think>", "<start_of_turn>", "<end_of_turn>", "<file_sep>", "<jupyter_start>", "<fim-prefix>",
        "<_x>", "<<SYS>>", "<</SYS>>", "[INST]", "[/INST]", "[TOOL_CALLS]", "[SYSTEM_PROMPT]", "[gMASK]",
        "[SEP]", "</tool_call>",
        *(f"<{mark}>" for mark in MARKS), *(f"< / {mark} >" for mark in MARKS),
    ],
)  # fmt: skip
def test_a_token_of_a_template_and_a_mark_of_ours_are_broken(token: str) -> None:
    text = f"a{token}b {token}"
    assert token not in tamed(text)
    assert len(tamed(text)) == len(text)


@pytest.mark.parametrize(
    "text",
    [
        "a < b, x<5, b>a, a <b and c>d", "x <= y <- z << 2 <> 3", "rates[idx-1] + more[n-2] + t[1-10000]",
        "a[INST_1] df[CASH] [img] [12] [3, 4]", "if a<b:\n    return [x for x in y]\n", "<3 <!-- next -->",
        "what < question of > size", "calc-00001 and err-00002", "\u0628\u06cc\u200c\u0634",
    ],
)  # fmt: skip
def test_what_is_no_markup_stays_as_it_is(text: str) -> None:
    assert tamed(text) == text


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("see [calc-00001], [ ph-00005 ] and [a-123456]", "see (calc-00001), (ph-00005) and (a-123456)"),
        ("[[calc-00001]]", "[(calc-00001)]"),
        ("[ab-7] helpful=9 harmful=0 :: x", "(ab-7) helpful=9 harmful=0 :: x"),
        ("a [plain]  Helpful = 1", "a (plain) Helpful = 1"),
        ("[ph2-00001] [2ph-00001]", "(ph2-00001) (2ph-00001)"),
        ("[calc-00001, err-00002]", "(calc-00001, err-00002)"),
        ("[a-00001; b-00002 and c-00003|d-00004 ]", "(a-00001; b-00002 and c-00003|d-00004)"),
        ("[calc-\u200b00001] [\u200dcalc-00001]", "(calc-00001) (calc-00001)"),
        ("rate = rates[idx-1] + more[n-2]", "rate = rates[idx-1] + more[n-2]"),
    ],
)
def test_what_looks_like_ids_stands_in_no_brackets(text: str, line: str) -> None:
    assert one_line(text) == line


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a\u200bb\u2060c\ufeffd\u00ade", "abcde"),
        ("\u202eevil\u202c \u2066x\u2069 \u200fy\u061c", "evil x y"),
        ("hi\U000e0068\U000e0069", "hi"),
        ("<\u200b/playbook>", "\u2039/playbook>"),
        ("<\u200d|im_end|>", "\u2039|im_end|>"),
        ("a\u200db \u200c c\u200d", "ab c"),
        (
            "\u0915\u094d\u200d\u0937 \u0628\u06cc\u200c\u0634",
            "\u0915\u094d\u200d\u0937 \u0628\u06cc\u200c\u0634",
        ),
        ("\U0001f468\u200d\U0001f469", "\U0001f468\u200d\U0001f469"),
        ("\u0628\u200c\u200c\u0634 \u0628\u200c\u200da", "\u0628\u200c\u0634 \u0628a"),
    ],
)
def test_signs_that_nobody_sees_are_dropped_but_for_joiners_in_words(text: str, line: str) -> None:
    assert one_line(text) == line
    assert folded(text).count("\u200b") == 0


PIECES = (
    *(
        "<",
        "</",
        ">",
        "|",
        "[",
        "]",
        "calc-00001",
        ",",
        " ",
        "\u200b",
        "\u200d",
        "\u0628",
        "a",
        "\u2039",
        "/",
    ),
    *("playbook", "answer", "INST", "\u2028", "\ufeff"),
)


@given(st.one_of(texts(), st.lists(st.sampled_from(PIECES)).map("".join)))
def test_a_line_is_one_line_and_stays_as_it_is(text: str) -> None:
    line = one_line(text)

    assert one_line(line) == line
    assert tamed(tamed(text)) == tamed(text)
    assert len(line.splitlines()) == (1 if line else 0)
    assert line == line.strip()
    assert not re.search(r"\[\s*[a-z]+-[0-9]{5}\s*\]|<\s*/?\s*playbook|<\||</?[a-z]+>", line, re.IGNORECASE)
    line.encode()


def test_what_was_broken_inside_a_tag_makes_no_tag_of_it() -> None:
    assert tamed("<a<b>") == tamed(tamed("<a<b>")) == "<a\u2039b>"


@pytest.mark.parametrize("piece", ["< ", "<", "[", "[a-00001, ", "<a", "</", "\u200d", "[a", "<\n/ "])
def test_a_text_without_end_is_read_in_one_go(piece: str) -> None:
    assert tamed(piece * 100_000)
    assert one_line(piece * 100_000 + " " * 100_000 + "x")
    assert json.dumps(tamed(piece + " " * 100_000))
