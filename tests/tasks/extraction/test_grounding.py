"""Items in their places, and those that have none."""

# ruff: noqa: RUF001 - characters that look alike are what this is about

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rapidfuzz import fuzz
from rapidfuzz.distance import ScoreAlignment

from tasks.extraction.folding import Folded, fold
from tasks.extraction.grounding import ground
from tasks.extraction.values import GROUNDED, Grounding, Item, Window


def window(start: int, end: int, context: tuple[int, int] | None = None) -> Window:
    context_start, context_end = context or (start, end)
    return Window(start=start, end=end, context_start=context_start, context_end=context_end)


def grounded(
    text: str,
    items: Sequence[str | tuple[str, str]],
    part: Window | None = None,
    examples: Sequence[str] = (),
) -> list[Grounding]:
    """Ground texts, of the label ORG or one that is given."""
    found = [
        Item(label="ORG", text=one) if isinstance(one, str) else Item(label=one[0], text=one[1])
        for one in items
    ]
    return ground(
        found, Folded(text), part or window(0, len(text)), examples=[Folded(one) for one in examples]
    )


def spans(found: Sequence[Grounding]) -> list[tuple[int, int] | None]:
    return [(one.start, one.end) if one.start is not None and one.end is not None else None for one in found]


def words(text: str, found: Sequence[Grounding]) -> list[str | None]:
    return [text[slice(*span)] if span else None for span in spans(found)]


def statuses(found: Sequence[Grounding]) -> list[str]:
    return [one.status for one in found]


# What langextract 1.7.1 gets wrong


@pytest.mark.parametrize(
    "item", ["The State of Texas", "The United Kingdom", "The", "A suit in equity", "Nothing more"]
)
def test_what_was_made_up_gets_no_span(item: str) -> None:
    found = grounded("The United States filed a suit. Nothing else.".replace("The ", "A "), [item])
    assert statuses(found) == ["ungrounded"]
    assert spans(found) == [None]
    assert found[0].score == 0


@pytest.mark.parametrize(
    ("text", "item", "span"),
    [
        ("the “Company” shall", 'the "Company"', (0, 13)),
        ("the agree-\nment ends", "the agreement", (0, 15)),
        ("their ofﬁce is here", "their office", (0, 11)),
        ("the   Supreme\nCourt", "The Supreme Court", (0, 19)),
        ("art. 5º, n° 3", "Art. 5°, nº 3", (0, 13)),
        ("Brown – Green", "Brown - Green", (0, 13)),
        ("a Sa\u0303o Paulo b", "São Paulo", (2, 12)),
        ("the so\u00adft Co.", "soft Co.", (4, 13)),
    ],
)
def test_typography_sets_nothing_apart(text: str, item: str, span: tuple[int, int]) -> None:
    found = grounded(text, [item])
    assert spans(found) == [span]
    assert (found[0].status, found[0].score) == ("normalized", 1.0)


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("原告は東京地方裁判所に訴えた。", "東京地方裁判所"),
        ("被告北京市人民政府答辩称", "北京市人民政府"),
        ("피고 김철수는 서울에 산다", "김철수"),
        ("ศาลฎีกาในกรุงเทพมหานคร", "กรุงเทพมหานคร"),
        ("حكمت المحكمة العليا في الرياض", "المحكمة العليا"),
        ("בית המשפט העליון בירושלים", "בית המשפט העליון"),
        ("Верховный суд Российской Федерации", "Российской Федерации"),
        ("उच्चतम न्यायालय दिल्ली में", "न्यायालय"),
        ("team 👩\u200d💻 wins", "👩\u200d💻"),
    ],
)
def test_every_script_is_read(text: str, item: str) -> None:
    found = grounded(text, [item])
    assert words(text, found) == [item]
    assert statuses(found) == ["exact"]


def test_no_place_is_given_twice() -> None:
    found = grounded("Acme sued. Acme won. Acme left.", ["Acme"] * 4)
    assert spans(found) == [(0, 4), (11, 15), (21, 25), None]
    assert statuses(found) == ["exact"] * 3 + ["duplicate"]


def test_a_slip_gets_no_place_that_is_taken() -> None:
    text = "Acme Holdings sued."
    assert statuses(grounded(text, ["Acme Holdings", "Acme Holdingz"])) == ["exact", "duplicate"]
    assert statuses(grounded(text, ["Acme Holdingz", "Acme Holdings"])) == ["duplicate", "exact"]
    assert statuses(grounded(text, ["Acme Holdingz", "Acme Holdinga"])) == ["fuzzy", "duplicate"]


# Order


def test_the_order_of_the_answer_decides_between_occurrences() -> None:
    text = "Rio paid. Lima asked Rio. Lima paid Rio."
    found = grounded(text, [("A", "Lima"), ("B", "Rio"), ("A", "Lima")])
    assert spans(found) == [(10, 14), (21, 24), (26, 30)]


def test_answers_by_label_are_read_by_label() -> None:
    text = "Ann met Bob on Monday. Bob met Ann on Friday. Ann met Bob on Monday."
    items = [("P", one) for one in ("Ann", "Bob", "Bob", "Ann", "Ann", "Bob")]
    found = grounded(text, [*items, ("D", "Monday"), ("D", "Friday"), ("D", "Monday")])
    people, days = spans(found)[:6], spans(found)[6:]
    assert people == [(0, 3), (8, 11), (23, 26), (31, 34), (46, 49), (54, 57)]
    assert days == [(15, 21), (38, 44), (61, 67)]


def test_what_is_out_of_order_takes_the_nearest_place_that_is_free() -> None:
    found = grounded("Acme, Bolt and Core. Acme.", ["Core", "Bolt", "Acme"])
    assert spans(found) == [(15, 19), (6, 10), (21, 25)]


def test_a_name_within_a_longer_one_is_the_longer_one() -> None:
    text = "Bank of Rio, in Rio"
    assert spans(grounded(text, [("PLACE", "Rio"), ("ORG", "Bank of Rio")])) == [(16, 19), (0, 11)]
    assert spans(grounded(text, ["Rio", "Bank of Rio"])) == [(16, 19), (0, 11)]


def test_one_label_takes_a_place_once_and_another_may_take_it_too() -> None:
    text = "Bank of Rio"
    found = grounded(text, [("ORG", "Bank of Rio"), ("ORG", "Rio"), ("PLACE", "Rio"), ("X", "Bank of Rio")])
    assert spans(found) == [(0, 11), None, (8, 11), (0, 11)]
    assert found[1].status == "duplicate"


def test_of_two_spellings_each_item_has_its_own() -> None:
    text = "THE COURT held. The Court said."
    assert spans(grounded(text, ["The Court"])) == [(16, 25)]
    assert spans(grounded(text, ["THE COURT"])) == [(0, 9)]


def test_a_slip_keeps_the_order_too() -> None:
    text = "Supreme Court, Ann, Supreme Court, Bob"
    assert spans(grounded(text, ["Supreme Court", "Ann", "Supreme Cuort", "Bob"])) == [
        (0, 13),
        (15, 18),
        (20, 33),
        (35, 38),
    ]
    assert spans(grounded(text, ["Supreme Cuort", "Ann", "Supreme Court", "Bob"])) == [
        (0, 13),
        (15, 18),
        (20, 33),
        (35, 38),
    ]


def test_a_slip_that_comes_first_in_the_answer_comes_first_in_the_text() -> None:
    text = "Supreme Court, Supreme Court"
    assert spans(grounded(text, ["Supreme Cuort", "Supreme Court"])) == [(0, 13), (15, 28)]


def test_what_is_left_over_shuns_longer_names_and_keeps_to_its_neighbours() -> None:
    text = "Rio, Rio Bank, Lima"
    found = grounded(text, [("ORG", "Rio Bank"), ("PLACE", "Lima"), ("PLACE", "Rio")])
    assert spans(found) == [(5, 13), (15, 19), (0, 3)]
    text = "Zed. Bolt Holdings, Ann, then at some length Bolt Holdings, Cee"
    assert spans(grounded(text, ["Ann", "Bolt Holdingz", "Cee", "Zed"]))[1] == (45, 58)


# Words


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("the agreement", "agree"),
        ("the agreement", "ment"),
        ("costs $1,000,000", "$1,000"),
        ("costs $1,000", "$1"),
        ("Section 5.1", "Section 5"),
        ("Section 55", "Section 5"),
        ("oﬃce", "of"),
        ("½ of it", "1"),
        ("℀ b", "a"),
        ("👩\u200d💻", "👩"),
        ("กำ", "ก"),
    ],
)
def test_a_part_of_a_word_or_number_is_no_occurrence(text: str, item: str) -> None:
    assert statuses(grounded(text, [item])) == ["ungrounded"]


@pytest.mark.parametrize(
    ("text", "item", "status"),
    [
        ("Acme² sued", "Acme", "exact"),
        ("Acme™ sued", "Acme", "exact"),
        ("art. 5º", "art. 5", "exact"),
        ("in 2018.", "2018", "exact"),
        ("15/03/2018", "2018", "exact"),
        ("(Acme)", "Acme", "exact"),
        ("Acme's", "Acme", "exact"),
        ("acme", "ACME", "normalized"),
        ("Acme", " Acme\n", "normalized"),
    ],
)
def test_a_word_of_its_own_is_one(text: str, item: str, status: str) -> None:
    assert statuses(grounded(text, [item])) == [status]


@pytest.mark.parametrize("item", ["", " ", "\n\t", "\u200b", "\u00ad \ufeff"])
def test_nothing_stands_nowhere(item: str) -> None:
    assert statuses(grounded("a b", [item])) == ["ungrounded"]
    assert statuses(grounded("", [item, "Acme"])) == ["ungrounded", "ungrounded"]


# Slips


def test_an_accent_that_is_left_out_is_a_slip() -> None:
    assert statuses(grounded("at the cafe\u0301 in São Luís", ["cafe", "Sao Luis"])) == [
        "fuzzy",
        "fuzzy",
    ]


def test_a_slip_is_fuzzy_and_says_how_alike_it_is() -> None:
    text = "before the Supreme Court of Brazil, in plenary"
    found = grounded(text, ["Suprme Court of Brazil"])
    assert words(text, found) == ["Supreme Court of Brazil"]
    assert found[0].status == "fuzzy"
    assert 0.88 <= found[0].score < 1


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("under Article 6 of it", "Article 5"),
        ("pays $1,900 now", "$1,000"),
        ("on 16 March 2018 he", "15 March 2018"),
        ("the STJ held", "STF"),
        ("the Act", "Acts"),
    ],
)
def test_another_entity_is_no_slip(text: str, item: str) -> None:
    assert statuses(grounded(text, [item])) == ["ungrounded"]


def test_the_right_one_of_many_that_are_alike_is_found() -> None:
    text = ", ".join(f"Articlle {number} of the Treaty" for number in range(1, 6))
    assert words(text, grounded(text, ["Article 4 of the Treaty"])) == ["Articlle 4 of the Treaty"]


def test_what_is_most_alike_is_not_taken_if_it_is_another() -> None:
    text = "Northern Bank Limited 5, Norhern Bank Limted 4"
    assert words(text, grounded(text, ["Northern Bank Limited 4"])) == ["Norhern Bank Limted 4"]


def test_two_letters_that_are_swapped_are_one_slip_of_a_short_word() -> None:
    text = "a União paga"
    assert [statuses(grounded(text, [one])) for one in ("Uinão", "Unxão", "Xnião", "Unxxo")] == [
        ["fuzzy"],
        ["fuzzy"],
        ["ungrounded"],
        ["ungrounded"],
    ]


@pytest.mark.parametrize(
    ("text", "item"),
    [
        ("the Supremo Tribunal Federal held", "Supremo Tribnua Federal"),
        ("filed on 24/08/2001 there", "24/O8/001"),
        ("the case ACO 2821 is", "ACO 28621"),
        ("signed by Nídia Corrêa Lima there", "Nídia Corrêa Yima"),
    ],
)
def test_what_is_near_and_alone_is_fuzzy_unless_the_item_stands_elsewhere_or_another_is_near(
    text: str, item: str
) -> None:
    found = grounded(text, [item])
    assert statuses(found) == ["fuzzy"]
    assert 0.7 < found[0].score < 1
    changed = next(word for word in item.split() if word not in text)
    assert statuses(grounded(f"{text}. Elsewhere {changed}.", [item], window(0, len(text)))) == ["ungrounded"]


def test_of_two_that_are_as_near_none_is_taken() -> None:
    assert statuses(grounded("Marta Limas saw it", ["Marla Limxs"])) == ["fuzzy"]
    assert statuses(grounded("Marta Limas saw Marla Limos", ["Marxa Limxs"])) == ["ungrounded"]


_HEARING = "Silva met the União and Weber, then Lima"


@pytest.mark.parametrize("items", [["Silva", "Unxxo", "Weber"], ["Silva", "Unxxo", "Xyz Ltd", "Lima"]])
def test_a_name_between_its_neighbours_may_be_less_alike(items: list[str]) -> None:
    found = grounded(_HEARING, items)
    assert words(_HEARING, found)[1] == "União"
    assert found[1].status == "fuzzy"
    assert 0.5 < found[1].score < 0.88


def test_a_name_between_neighbours_of_its_label_may_be_less_alike() -> None:
    items = [("PERSON", "Lima"), "Silva", "Unxxo", "Weber"]
    assert words(_HEARING, grounded(_HEARING, items)) == ["Lima", "Silva", "União", "Weber"]


@pytest.mark.parametrize(
    ("text", "items"),
    [
        pytest.param(_HEARING, ["Unxxo"], id="alone"),
        pytest.param(_HEARING, ["Unxxo", "Weber"], id="none before"),
        pytest.param(_HEARING, ["Silva", "Unxxo"], id="none after"),
        pytest.param(_HEARING, ["Weber", "Unxxo", "Lima"], id="elsewhere"),
        pytest.param(_HEARING, ["Weber", "Silva", "Unxxo", "Lima"], id="out of order"),
        pytest.param(_HEARING, [("COURT", "União"), "Silva", "Unxxo", "Weber"], id="taken"),
        pytest.param(_HEARING.replace("União", "união"), ["Silva", "Unxxo", "Weber"], id="no name there"),
        pytest.param(_HEARING, ["Silva", "unxxo", "Weber"], id="no name"),
        pytest.param(_HEARING.replace("União", "União or Uniro"), ["Silva", "Unxxo", "Weber"], id="two near"),
        pytest.param(_HEARING.replace("União", "União or Anxxo"), ["Silva", "Unxxo", "Weber"], id="another"),
        pytest.param(_HEARING.replace("União", "União, União"), ["Silva", "Unxxo", "Weber"], id="two places"),
        pytest.param(_HEARING + ". Unxxo did", ["Silva", "Unxxo", "Weber"], id="stands there"),
        pytest.param(_HEARING.replace("União", "Carlos"), ["Silva", "Carla", "Weber"], id="akin"),
    ],
)
def test_order_is_no_evidence_where_there_is_none_or_another_is_meant(
    text: str, items: list[str | tuple[str, str]]
) -> None:
    found = grounded(text, items, window(0, len(_HEARING)))
    at = next(n for n, one in enumerate(items) if one in {"Unxxo", "unxxo", "Carla"})
    assert statuses(found)[at] == "ungrounded"


def test_a_wording_is_looked_for_once_however_often_it_stands_there(monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    align = fuzz.partial_ratio_alignment

    def count(text: str, hay: str, *, score_cutoff: float) -> ScoreAlignment | None:
        looked.append(hay)
        return align(text, hay, score_cutoff=score_cutoff)

    monkeypatch.setattr(fuzz, "partial_ratio_alignment", count)
    text = "Marta Limas saw it. " * 4
    assert spans(grounded(text, ["Marxa Limxs"])) == [(0, 11)]
    assert len(looked) == 2
    assert "mar" not in looked[1]


def test_a_long_clause_with_slips_is_found_whole() -> None:
    clause = " ".join(f"the party of part number {n} shall indemnify" for n in range(20))
    text = f"Whereas. {clause}. Hereafter it ends."
    found = grounded(
        text,
        [
            clause.replace("number 7", "nummber 7").replace(
                "indemnify the party of part number 9", "indemnifi the party of part number 9"
            )
        ],
    )
    assert spans(found) == [(9, 9 + len(clause))]
    assert found[0].status == "fuzzy"


# Windows and examples


def test_the_window_goes_before_the_context_and_nothing_else_is_looked_at() -> None:
    text = "Acme one. Acme two. Acme three. Acme four."
    part = window(10, 20, (0, 31))
    assert spans(grounded(text, ["Acme"] * 4, part)) == [(10, 14), (20, 24), (0, 4), None]
    assert statuses(grounded(text, ["four", "one", "two"], part)) == ["ungrounded", "exact", "exact"]
    assert statuses(grounded("Bolt Holdings. Acme. Core.", ["Bolt Holdingz"], window(15, 20))) == [
        "ungrounded"
    ]
    assert statuses(grounded("Bolt Holdings. Acme. Core.", ["Bolt Holdingz"], window(15, 20, (0, 20)))) == [
        "fuzzy"
    ]


def test_what_starts_in_the_window_and_ends_behind_it_is_found_in_the_context() -> None:
    text = "see Brown v. Board of Education, decided"
    assert spans(grounded(text, ["Brown v. Board of Education"], window(0, 12, (0, 40)))) == [(4, 31)]
    assert statuses(grounded(text, ["Brown v. Board of Education"], window(0, 12))) == ["ungrounded"]


def test_what_stands_in_an_example_alone_has_leaked() -> None:
    examples = ["On 1 May Juliet met Romeo.", "Acme sued."]
    found = grounded("Acme lost.", ["Juliet", "Acme", "Nobody", "julie"], examples=examples)
    assert statuses(found) == ["leaked", "exact", "ungrounded", "ungrounded"]
    assert spans(found) == [None, (0, 4), None, None]


# Whatever comes


TEXT = st.lists(st.sampled_from("ab A-B.1, é東\n"), max_size=40).map("".join)


@given(
    TEXT,
    st.lists(st.tuples(st.sampled_from("XY"), TEXT | st.text("ab1 ", max_size=3)), max_size=12),
    st.data(),
)
def test_every_item_has_one_grounding_and_no_label_two_on_one_place(
    text: str, items: list[tuple[str, str]], data: st.DataObject
) -> None:
    bounds = sorted(data.draw(st.tuples(*[st.integers(0, len(text))] * 4)))
    part = window(bounds[1], bounds[2], (bounds[0], bounds[3]))
    found = grounded(text, items, part)
    assert len(found) == len(items)
    taken: dict[str, set[int]] = {}
    for (label, wanted), one in zip(items, found, strict=True):
        assert (one.start is None) == (one.end is None) == (one.status not in GROUNDED)
        if one.start is None or one.end is None:
            assert one.score == 0
            continue
        assert bounds[0] <= one.start < one.end <= bounds[3]
        got = text[one.start : one.end]
        assert (one.status == "exact") == (got == wanted)
        if one.status != "fuzzy":
            assert one.score == 1
            assert fold(got) == fold(wanted).strip() or "\n" in got or "\n" in wanted
        places = set(range(one.start, one.end))
        assert not places & taken.setdefault(label, set())
        taken[label] |= places


def test_answers_that_only_cost_time_are_answered() -> None:
    letters = "a " * 3_000
    assert statuses(grounded(letters, ["a"] * 1_000)) == ["exact"] * 1_000
    glued = "一" * 5_000
    assert statuses(grounded(glued, ["一" * n for n in range(1, 200)])).count("ungrounded") == 0
    long = "the party shall pay " * 2_000
    assert statuses(grounded(long, [long[:-1].replace("pay", "pai")] * 5)) == [
        "fuzzy",
        *["duplicate"] * 4,
    ]
    assert statuses(grounded("b" * 20_000, ["b"] * 500 + ["b" * 19_999])) == ["ungrounded"] * 501
