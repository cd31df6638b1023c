"""Facts about the noisy model that merging is measured with."""

import json
import random
from itertools import pairwise

from bench.extraction_merging import Cut, Document, Noise, noisy_mentions, scored, speed

WORDS = " ".join(f"word{number}" for number in range(2000))
GOLD = frozenset(
    (place, place + 12, "AB"[place % 2])
    for place in range(0, len(WORDS) - 12, 60)
    if not WORDS[place].isspace() and not WORDS[place + 11].isspace()
)
DOCUMENT = Document(text=WORDS, gold=GOLD)
FLAWLESS = Noise(recall=1.0, boundary=0.0, spurious=0.0)


def test_windows_cover_the_text_overlap_as_told_and_end_between_words() -> None:
    windows = Cut(size=1000, overlap=200, passes=3).windows(WORDS)
    for number in range(3):
        ordered = [window for (its_pass, _), window in windows.items() if its_pass == number]
        assert (ordered[0].start, ordered[-1].end) == (0, len(WORDS))
        shared = [one.end - other.start for one, other in pairwise(ordered)]
        assert all(180 <= overlap <= 220 for overlap in shared)
        ends = [window.end for window in ordered[:-1]]
        assert all(" " in WORDS[end - 1 : end + 1] for end in ends)
    assert len({window.end for window in windows.values()}) > len(windows) * 0.9, "passes cut elsewhere"


def test_what_a_flawless_model_finds_comes_back_whole_only_where_windows_overlap() -> None:
    whole = scored([DOCUMENT], Cut(overlap=200), FLAWLESS, min_votes=1, seed=0)
    assert (whole["precision"], whole["recall"], whole["f1"]) == (1.0, 1.0, 1.0)
    cut = scored([DOCUMENT], Cut(overlap=0, passes=1), FLAWLESS, min_votes=1, seed=0)
    assert cut["f1"] < 1


def test_the_model_is_wrong_as_often_as_told() -> None:
    windows = Cut(size=len(WORDS), overlap=0, passes=1).windows(WORDS)
    noise = Noise(recall=0.8, boundary=0.2, spurious=0.1)
    mentions = noisy_mentions(DOCUMENT, windows, noise, random.Random(0))
    spans = {(one.grounding.start, one.grounding.end, one.item.label) for one in mentions}
    assert 0.56 < len(spans & GOLD) / len(GOLD) < 0.74  # 0.8 of them, of which 0.8 are whole
    assert 0.80 < len(mentions) / len(GOLD) < 0.96  # and a tenth as many are invented


def test_the_measurements_are_json_values() -> None:
    measured = speed(spans=40, repetitions=1)
    assert json.loads(json.dumps(measured)) == measured
    assert int(str(measured["mentions"])) > 3 * 40
