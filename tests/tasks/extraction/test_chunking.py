import itertools
import random
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tasks.extraction.budgets import balanced_size, chunk_count
from tasks.extraction.chunking import shift_of, split
from tasks.extraction.unbroken import kept_together
from tasks.extraction.values import Window
from tasks.tokens.counting import LocalCounter, TokenCounter
from tests.tasks.extraction.made_tokens import SPOKEN, FarWords, Words, small_tokenizer

LOCAL = LocalCounter(small_tokenizer())
BROWN = "In Brown v. Board of Educ., 347 U.S. 483 (1954), the"
POEM = "No man is an island,\nEntire of itself,\nEvery man is a piece of the continent,\nA part of the main."

word = st.sampled_from(
    ["a", "the", "court", "held.", "Acme", "Inc.", "v.", "Roe,", "347", "U.S.", "483", "(1954),", "§", "1983",
     "No.", "Mr.", "agree-", "antidisestablishmentarianism", "東京都は日本の首都です。", "ภาษาไทยเป็น",
     "e\u0301", "😀",
     "x" * 60]
)  # fmt: skip
gap = st.sampled_from([" ", " ", " ", "  ", "\n", "\n\n", "\n   \n", "", "\t"])
texts = st.lists(st.tuples(word, gap), max_size=60).map(lambda pairs: "".join(map("".join, pairs)))
sizes = st.integers(1, 200).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size - 1)))


def spans(windows: Sequence[Window]) -> list[tuple[int, int]]:
    return [(window.start, window.end) for window in windows]


def shown(text: str, windows: Sequence[Window]) -> list[str]:
    return [text[window.start : window.end] for window in windows]


def cuts_a_word(text: str, place: int) -> bool:
    """Say whether a place is within a word of a script with blanks."""
    around = text[place - 1 : place + 1]
    return 0 < place < len(text) and not any(one.isspace() or "\u0e00" <= one < "\uac00" for one in around)


@given(texts, sizes, st.booleans(), st.sampled_from([0.0, 0.5, 0.25, 0.99]))
@example("x" * 500, (7, 6), True, 0.0)
@example(" \n ", (5, 1), True, 0.0)
async def test_what_windows_in_characters_always_are(
    text: str,
    size: tuple[int, int],
    balanced: bool,  # noqa: FBT001
    shift: float,
) -> None:
    limit, overlap = size
    windows = await split(text, size=limit, overlap=overlap, balanced=balanced, shift=shift)

    covered = set(itertools.chain.from_iterable(range(*span) for span in spans(windows)))
    assert covered >= {place for place, letter in enumerate(text) if not letter.isspace()}
    for start, end in spans(windows):
        assert 0 < end - start <= limit
        assert not text[start].isspace()
        assert not text[end - 1].isspace()
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start
        assert before.end < after.end
        assert before.end - after.start <= overlap
        assert not cuts_a_word(text, after.start) or after.start == before.end
    for number, window in enumerate(windows):
        if cuts_a_word(text, window.end):  # then it holds a part of one word, and nothing else that is new
            new = max(window.start, windows[number - 1].end if number else 0)
            assert all(cuts_a_word(text, place) for place in range(new + 1, window.end))
    assert windows == await split(text, size=limit, overlap=overlap, balanced=balanced, shift=shift)
    for part in shown(text, windows):
        assert spans(await split(part, size=limit, overlap=overlap, shift=shift)) == [(0, len(part))]


@given(texts, st.integers(4, 60), st.data())
async def test_what_windows_in_tokens_always_are(text: str, size: int, data: st.DataObject) -> None:
    overlap = data.draw(st.integers(0, size // 2))
    windows = await split(text, size=size, overlap=overlap, counter=LOCAL)
    starts = await LOCAL.token_starts(text)

    covered = set(itertools.chain.from_iterable(range(*span) for span in spans(windows)))
    assert covered >= {place for place, letter in enumerate(text) if not letter.isspace()}
    for part in shown(text, windows):
        assert await LOCAL.count_text(part) <= size or len(part) == 1
        assert spans(await split(part, size=size, overlap=overlap, counter=LOCAL)) == [(0, len(part))]
    for before, after in itertools.pairwise(windows):
        assert before.start < after.start
        assert before.end < after.end
        assert sum(after.start <= start < before.end for start in starts) <= overlap


@pytest.mark.parametrize("counter", [Words(), FarWords()])
@pytest.mark.parametrize(
    ("total", "size", "overlap"),
    [(28_000, 28_000, 2_800), (28_001, 28_000, 2_800), (35_000, 28_000, 2_800), (53_200, 28_000, 2_800),
     (53_201, 28_000, 2_800), (100_000, 12_000, 1_200)],
)  # fmt: skip
async def test_there_are_as_many_as_counted_before(
    counter: TokenCounter, total: int, size: int, overlap: int
) -> None:
    text = "word " * total
    windows = await split(text, size=size, overlap=overlap, counter=counter)

    assert len(windows) == chunk_count(total, size, overlap)
    words = [len(part.split()) for part in shown(text, windows)]
    assert max(words) <= size
    assert max(words) <= balanced_size(total, size, overlap) * 1.01
    assert min(words) >= balanced_size(total, size, overlap) * 0.97


async def test_the_vectors_of_langextract_that_are_ours_too() -> None:
    """Its chunks are as full as can be, so these are not balanced."""
    assert spans(await split(POEM, size=40, balanced=False)) == [(0, 38), (39, 77), (78, 97)]
    roses = "Roses are red. Violets are blue. Flowers are nice. And so are you."
    assert spans(await split(roses, size=60, balanced=False)) == [(0, 50), (51, 66)]
    assert await split("", size=10) == await split(" \n\t", size=10) == []


async def test_where_we_differ_from_langextract() -> None:
    """It lets a word be longer than the limit, and takes the full stop off; a limit here is one."""
    text = "This is antidisestablishmentarianism."

    assert shown(text, await split(text, size=20, balanced=False)) == [
        "This is", "antidisestablishment", "arianism.",
    ]  # fmt: skip


@pytest.mark.parametrize("filler", range(0, 200, 3))
@pytest.mark.parametrize("counter", [None, LOCAL])
async def test_a_citation_is_never_cut_where_it_can_be_whole(
    filler: int, counter: TokenCounter | None
) -> None:
    text = ("word " * 40)[:filler].strip() + f" {BROWN} next. " + "Some more words follow here. " * 12
    start = text.index("Brown")
    inside = range(start + 1, text.index("(1954),") + len("(1954),"))

    windows = await split(text, size=90, overlap=20, counter=counter)

    assert not [window for window in windows if window.end in inside or window.start in inside]


@pytest.mark.parametrize(
    "phrase",
    ["42 U.S.C. § 1983", "Acme, Inc. was", "No. 12-345", "Id. at 495", "Mr. J. R. Smith", "January 31, 2024",
     "Doe v. Roe, 123 F. Supp. 2d 456, 460 (S.D.N.Y. Mar. 3, 1999)", "nº 8.666", "21 de junho de 1993",
     "art. 5º", "551 U. S. 701, 732 (2007)",
     "Decreto nº 3.788/2001", "$ 5 million", "28 U.S.C. §§ 1331, 1343(a)(3)", "Fed. R. Civ. P. 12(b)(6)",
     "e.g., Roe",
     "Smith v. Jones Corp., 9 F.3d 1", "agree-\nment"],
)  # fmt: skip
async def test_what_belongs_together_is_not_cut(phrase: str) -> None:
    for filler in range(90):
        text = "w" * filler + f" aa {phrase} " + "word and word. " * 12
        at = text.index(phrase)
        end = at + len(phrase)
        windows = await split(text, size=80, overlap=8)
        assert not [window for window in windows if at < window.end < end]
        # The second half of what is whole in one window may be seen again in the next.
        again = [before.end for before, after in itertools.pairwise(windows) if at < after.start < end]
        assert all(place >= end for place in again)


async def test_a_window_grows_rather_than_cut_a_citation() -> None:
    """Balanced, it would have had 40 characters."""
    text = f"{BROWN} Court held it."

    assert shown(text, await split(text, size=52, overlap=13))[0] == BROWN.removesuffix(" the")


async def test_a_window_ends_with_a_paragraph_else_a_sentence() -> None:
    text = "One two three four. Five six seven.\n\nEight nine ten eleven. Twelve thirteen fourteen fifteen."

    assert shown(text, await split(text, size=45, balanced=False))[0] == "One two three four. Five six seven."
    text = text.replace("\n\n", " ")
    assert shown(text, await split(text, size=62, balanced=False))[0].endswith("eleven.")


async def test_a_wrapped_line_is_no_better_an_end_than_a_word() -> None:
    text = "Alpha beta gamma. Delta epsilon\nzeta eta theta iota kappa lambda mu nu xi omicron."

    assert (
        shown(text, await split(text, size=36, balanced=False))[0] == "Alpha beta gamma. Delta epsilon\nzeta"
    )


async def test_a_long_line_without_a_full_stop_goes_on_and_a_heading_does_not() -> None:
    text = (
        "The party of the first part and the Bank of\nPortugal agree. HEADING OF IT\nAll of it is agreed now."
    )

    assert shown(text, await split(text, size=62, balanced=False))[0].endswith("of\nPortugal agree.")
    assert shown(text, await split(text, size=80, balanced=False))[0].endswith("HEADING OF IT")


async def test_what_is_shorter_than_the_overlap_is_whole_somewhere() -> None:
    rng = random.Random(7)
    text = " ".join("abcdefghij"[: rng.randint(1, 9)] for _ in range(2_000))
    windows = await split(text, size=300, overlap=60)

    for before, after in itertools.pairwise(windows):
        assert 60 - 10 <= before.end - after.start <= 60


async def test_ends_are_between_the_words_of_scripts_without_blanks() -> None:
    sentence = "東京都は日本の首都です。"
    windows = await split(sentence * 20, size=50, overlap=12)

    assert {part[-1] for part in shown(sentence * 20, windows)} == {"。"}
    thai = "ภาษาไทยเป็นภาษาที่มีระดับเสียงของคำแน่นอน" * 5
    for part in shown(thai, await split(thai, size=60, overlap=12)):
        assert part.startswith(("ภาษา", "ไทย", "เป็น", "ที่", "มี", "ระดับ", "เสียง", "ของ", "คำ", "แน่นอน"))


async def test_a_text_without_blanks_is_cut_to_size() -> None:
    text = "a" * 100_000
    windows = await split(text, size=1_000, overlap=100)

    assert "".join(shown(text, windows)) == text
    assert {len(part) for part in shown(text, windows)} == {1_000} - set() or max(
        map(len, shown(text, windows))
    ) <= 1_000


async def test_a_shifted_grid_crosses_the_borders_of_the_other() -> None:
    text = SPOKEN * 30
    first = await split(text, size=1_000, overlap=100)
    second = await split(text, size=1_000, overlap=100, shift=0.5)

    assert abs(second[0].end - (first[0].end + 100) / 2) < 150
    borders = [window.end for window in first[:-1]]
    away = [min(abs(window.end - border) for border in borders) for window in second[:-1]]
    assert sum(away) / len(away) > 150
    assert await split(SPOKEN, size=1_000, shift=0.5) == await split(SPOKEN, size=1_000)


async def test_each_pass_has_borders_of_its_own_though_all_like_the_ends_of_paragraphs() -> None:
    dice = random.Random(0)
    paragraphs = ["A word, and more of them. " * dice.randint(2, 14) for _ in range(400)]
    text = "\n\n".join(paragraph.strip() for paragraph in paragraphs)
    borders = [
        {window.end for window in await split(text, size=1_000, overlap=200, shift=shift_of(number))}
        for number in range(4)
    ]
    assert len(borders[0]) > 60
    assert all(len(one & other) < 20 for one, other in itertools.combinations(borders, 2))


def test_passes_are_shifted_as_far_from_one_another_as_can_be() -> None:
    assert [shift_of(number) for number in range(6)] == [0, 0.5, 0.25, 0.75, 0.125, 0.625]


@pytest.mark.parametrize("shift", [-0.1, 1.0])
async def test_a_shift_is_a_part_of_a_step(shift: float) -> None:
    with pytest.raises(ValueError, match=f"a shift of {shift} steps; give 0 or more"):
        await split("a b", size=2, shift=shift)


async def test_context_is_whole_words_around_a_window() -> None:
    text = SPOKEN * 5
    windows = await split(text, size=300, overlap=30, context=50)

    for window in windows:
        before = text[window.context_start : window.start]
        behind = text[window.end : window.context_end]
        assert len(before) <= 50
        assert len(behind) <= 50
        assert not cuts_a_word(text, window.context_start)
        assert not cuts_a_word(text, window.context_end)
        assert len(before) > 20 or window.start < 50
        assert len(behind) > 20 or len(text) - window.end < 50
    without = await split(text, size=300, overlap=30)
    assert all((one.context_start, one.context_end) == (one.start, one.end) for one in without)
    assert spans(windows) == spans(without)


async def test_a_server_is_asked_about_once_a_window() -> None:
    counter = FarWords()
    text = SPOKEN * 1_000
    windows = await split(text, size=1_500, overlap=150, counter=counter)

    assert max([len(part.split()) for part in shown(text, windows)]) <= 1_500
    assert len(counter.texts) < len(text) / 16_000 + 1.2 * len(windows) + 2


async def test_a_document_that_fits_is_counted_once_by_its_tokenizer() -> None:
    counter = Words()
    await split(SPOKEN, size=1_000, counter=counter)

    assert counter.texts == [SPOKEN.strip()]


@pytest.mark.parametrize(("size", "overlap", "context"), [(0, 0, 0), (5, 5, 0), (5, -1, 0), (5, 1, -1)])
async def test_sizes_that_make_no_windows_are_refused(size: int, overlap: int, context: int) -> None:
    with pytest.raises(ValueError, match=r"give (one|0)"):
        await split("text", size=size, overlap=overlap, context=context)


def test_a_run_of_numbers_is_not_kept_together_for_ever() -> None:
    text = "1, " * 1_000

    assert max(end - start for start, end in kept_together(text)) < 200


def test_a_paragraph_ends_what_belongs_together() -> None:
    assert kept_together("Acme Inc.\n\nThe No.\n \n5") == [(0, 9)]
