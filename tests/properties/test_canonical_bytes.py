"""Equal bytes only for equal values: shown by reading the bytes back."""

import itertools
import math
import random
import struct
from collections.abc import Callable
from typing import Any, ClassVar, TypeAlias

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cache.canonical import canonical_bytes
from cache.errors import UnencodableError
from cache.keys import digest, make_key

Value: TypeAlias = Any

TEXT = st.text(max_size=4) | st.text("ab1:\x00sil,", max_size=6)  # the second looks like the encoding itself
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 3)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from([0.0, -0.0, 1.0, -1.0])
    | TEXT
    | st.binary(max_size=4)
    | TEXT.map(str.encode)
)
VALUES: st.SearchStrategy[Value] = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.lists(inner, max_size=4).map(tuple)
        | st.dictionaries(TEXT, inner, max_size=4)
    ),
    max_leaves=12,
)


def plain(value: Value) -> Value:
    """Write a value so that == says what counts as equal: types apart, but not lists from tuples."""
    if isinstance(value, float):
        return "float", value.hex()
    if isinstance(value, list | tuple):
        return "list", [plain(item) for item in items_of(value)]
    if isinstance(value, dict):
        return "mapping", sorted((key, plain(item)) for key, item in pairs_of(value))
    return type(value).__name__, value


def items_of(value: Value) -> list[Value]:
    return list(value)


def pairs_of(value: Value) -> list[tuple[str, Value]]:
    return list(value.items())


class Reader:
    """Reads canonical bytes back; there is one way to read them, so no two values can share them."""

    WORDS: ClassVar = {b"n": ("NoneType", None), b"t": ("bool", True), b"f": ("bool", False)}
    SIZED: ClassVar[dict[bytes, tuple[str, Callable[[bytes], Value]]]] = {
        b"i": ("int", int),
        b"s": ("str", bytes.decode),
        b"b": ("bytes", bytes),
    }

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.place = 0

    def take(self, size: int) -> bytes:
        self.place += size
        assert self.place <= len(self.data)
        return self.data[self.place - size : self.place]

    def number(self) -> int:
        end = self.data.index(b":", self.place)
        digits = self.take(end - self.place)
        self.take(1)
        return int(digits)

    def value(self) -> Value:
        tag = self.take(1)
        if tag in self.WORDS:
            return self.WORDS[tag]
        if tag == b"d":
            return "float", struct.unpack(">d", self.take(8))[0].hex()
        size = self.number()
        match tag:
            case b"l":
                return "list", [self.value() for _ in range(size)]
            case b"m":
                return "mapping", [(self.value()[1], self.value()) for _ in range(size)]
            case _:
                name, read = self.SIZED[tag]
                return name, read(self.take(size))


@given(VALUES)
def test_the_bytes_can_be_read_in_one_way_only(value: Value) -> None:
    reader = Reader(canonical_bytes(value))
    assert reader.value() == plain(value)
    assert reader.place == len(reader.data)


@given(VALUES, VALUES)
@example(left={"a": [1]}, right={"a": (1,)})
@example(left=[0.0], right=[-0.0])
def test_equal_bytes_only_for_equal_values(left: Value, right: Value) -> None:
    assert (canonical_bytes(left) == canonical_bytes(right)) is (plain(left) == plain(right))


LOOKALIKES: list[Value] = [
    1, "1", True, 1.0, b"1", [1], ["1"], (1.0,), {"1": 1}, "True",
    0, False, None, 0.0, -0.0, "", b"", [], {}, "None", "null", [None], [[]], [{}], {"": None},
    "a", b"a", "ab", ["ab", "c"], ["a", "bc"], ["a", "b", "c"], ["abc"], "abc", ["a", ["b", "c"]],
    [["a", "b"], "c"],
    (1, 23), (12, 3), (1, 2, 3), (123,), 123, [[1, 2], [3]], [[1], [2, 3]],
    [[1, 2, 3]], [[], [1, 2, 3]],
    {"a": 1, "b": 2}, {"a": 2, "b": 1}, {"ab": 1}, {"a": {"b": 1}}, [["a", 1], ["b", 2]], ["a", 1, "b", 2],
    {"a": None}, {"a": {}}, {"a": []}, {"a": ""}, {"a": False}, {"a": 0},
    "s1:a", "l2:s1:as1:b", ["a", "b"], "n", "t", b"n", "i1:1", "\x00", b"\x00", "0", "-0", "00",
    "e\u0301", "\u00e9", "\u00e9".encode(), "\u00e9".encode("latin-1"), "A", " a", "a ", "\n",
    2**53, 2**53 + 1, float(2**53), 2**64, -(2**64), 1e308, 5e-324, 0.1 + 0.2, 0.3, math.pi,
]  # fmt: skip


def test_no_two_of_the_pairs_that_fooled_others_share_bytes() -> None:
    clashes = [
        (left, right)
        for left, right in itertools.combinations(LOOKALIKES, 2)
        if canonical_bytes(left) == canonical_bytes(right) or digest(left) == digest(right)
    ]
    assert clashes == []


def shuffled(value: Value, rng: random.Random) -> Value:
    """Return an equal value: mappings in another order, lists as tuples and tuples as lists."""
    if isinstance(value, dict):
        pairs = [(key, shuffled(item, rng)) for key, item in pairs_of(value)]
        rng.shuffle(pairs)
        return dict(pairs)
    if isinstance(value, list | tuple):
        items = [shuffled(item, rng) for item in items_of(value)]
        return tuple(items) if rng.random() < 0.5 else items
    return value


@given(VALUES, st.randoms(use_true_random=False))
def test_the_order_of_a_mapping_and_the_kind_of_a_list_mean_nothing(value: Value, rng: random.Random) -> None:
    twin = shuffled(value, rng)
    assert canonical_bytes(twin) == canonical_bytes(value)
    assert make_key("test", 1, twin) == make_key("test", 1, value)


@given(VALUES, st.sampled_from([math.nan, math.inf, {1}, object(), "\ud800", {1: 2}, 1j]))
def test_one_part_without_an_exact_form_spoils_the_whole(value: Value, bad: Value) -> None:
    for spoiled in ([value, bad], {"a": value, "b": [bad]}):
        with pytest.raises(UnencodableError, match=r"^value\["):
            canonical_bytes(spoiled)
