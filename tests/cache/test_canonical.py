"""Equal values, and only those, have equal bytes; what has no exact form is refused by name."""

import enum
import math
from collections import OrderedDict
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType

import pytest

from cache.canonical import canonical_bytes
from cache.errors import UnencodableError


class Colour(enum.IntEnum):
    RED = 1


class Name(str):
    __slots__ = ()


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, b"n"),
        (True, b"t"),
        (False, b"f"),
        (-12, b"i3:-12"),
        (1.0, b"d\x3f\xf0\x00\x00\x00\x00\x00\x00"),
        ("\u00e4", b"s2:\xc3\xa4"),
        (b"\x00", b"b1:\x00"),
        (["a", 1], b"l2:s1:ai1:1"),
        ((), b"l0:"),
        ({"b": 1, "a": None}, b"m2:s1:ans1:bi1:1"),
    ],
    ids=repr,
)
def test_the_encoding_is_pinned(value: object, expected: bytes) -> None:
    assert canonical_bytes(value) == expected


ALIKE: list[tuple[object, object]] = [
    ([1, "a"], (1, "a")),
    ({"a": 1, "b": 2}, {"b": 2, "a": 1}),
    ({"a": 1}, OrderedDict(a=1)),
    ({"a": 1}, MappingProxyType({"a": 1})),
    ({"a": [{"b": (1,), "c": 2}]}, {"a": ({"c": 2, "b": [1]},)}),
]


@pytest.mark.parametrize(("left", "right"), ALIKE, ids=repr)
def test_what_counts_as_equal(left: object, right: object) -> None:
    assert canonical_bytes(left) == canonical_bytes(right)


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (math.nan, "value is nan"),
        ([1.0, math.inf], r"value\[1\] is inf"),
        ({"a": {"b": [0, {"c": -math.inf}]}}, r"value\['a'\]\['b'\]\[1\]\['c'\] is -inf"),
        ({1, 2}, "value is a set"),
        (frozenset("a"), "value is a frozenset"),
        (object(), "value is a object"),
        (Decimal(1), "value is a Decimal"),
        (Path("a"), "value is a PosixPath"),
        (1j, "value is a complex"),
        (bytearray(b"a"), "value is a bytearray"),
        (range(3), "value is a range"),
        (Colour.RED, "value is a Colour"),
        ([Name("a")], r"value\[0\] is a Name"),
        ("\ud800", "value holds half a surrogate pair"),
        ({"a": ["\udfff"]}, r"value\['a'\]\[0\] holds half a surrogate pair"),
        ({"\ud800": 1}, "value holds half a surrogate pair"),
        ({1: "a"}, "value has the key 1; keys must be text"),
        ({"a": {None: 1}}, r"value\['a'\] has the key None"),
        ({Name("a"): 1}, "keys must be text"),
    ],
    ids=repr,
)
def test_what_has_no_exact_form_is_refused_with_the_path_to_it(value: object, path: str) -> None:
    with pytest.raises(UnencodableError, match=path):
        canonical_bytes(value)


def test_a_number_too_long_to_print_is_encoded_or_refused_by_name() -> None:
    try:
        assert canonical_bytes(10**5000) != canonical_bytes(10**5000 + 1)
    except UnencodableError:
        return
