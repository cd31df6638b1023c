"""The best chain, against all others."""

from itertools import pairwise, product

from hypothesis import given
from hypothesis import strategies as st

from tasks.extraction.chains import Option, Span, best_chain

SPANS = st.tuples(st.integers(0, 12), st.integers(1, 4)).map(lambda pair: (pair[0], pair[0] + pair[1]))
OPTIONS = st.lists(st.builds(Option, SPANS, st.integers(1, 9)), max_size=3)


def is_chain(spans: list[Span], *, may_overlap: bool) -> bool:
    pairs = pairwise(spans)
    return all(one[0] < other[0] if may_overlap else one[1] <= other[0] for one, other in pairs)


@given(st.lists(OPTIONS, max_size=5), st.booleans())
def test_no_chain_weighs_more(options: list[list[Option]], may_overlap: bool) -> None:  # noqa: FBT001
    found = best_chain(dict(enumerate(options)), may_overlap=may_overlap)
    assert is_chain([found[item] for item in sorted(found)], may_overlap=may_overlap)
    weight = sum(max(o.weight for o in options[item] if o.span == span) for item, span in found.items())
    best = 0
    for choice in product(*([None, *some] for some in options)):
        chosen = [one for one in choice if one]
        if is_chain([one.span for one in chosen], may_overlap=may_overlap):
            best = max(best, sum(one.weight for one in chosen))
    assert weight == best


def test_of_equal_chains_the_first_in_the_text_counts() -> None:
    same = [Option((at, at + 2), 5) for at in (0, 10, 20)]
    assert best_chain({0: same, 1: same}, may_overlap=False) == {0: (0, 2), 1: (10, 12)}
