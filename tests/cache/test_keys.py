"""A key names a value in a domain and a version of the scheme, the same everywhere."""

import doctest
import re

import pytest

import cache.keys
from cache.errors import UnencodableError
from cache.keys import digest, make_key


def test_a_key_is_64_hex_digits_and_pinned() -> None:
    key = make_key("example", 1, ["ab", "c"])
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert key == "a6230b640884ddf193c0b2ba073ab4fe32a6e99a0249500c0bf2110567f5ac0f"


def test_domain_version_and_value_are_in_the_key() -> None:
    keys = {
        make_key("a", 1, ["b"]),
        make_key("b", 1, ["b"]),
        make_key("a", 2, ["b"]),
        make_key("a", 1, ["c"]),
        make_key("a", 1, "b"),
        make_key("a1", 1, ["b"]),
    }
    assert len(keys) == 6


def test_parts_do_not_flow_into_each_other() -> None:
    assert make_key("x", 1, ["ab", "c"]) != make_key("x", 1, ["a", "bc"])
    assert make_key("x", 1, [1, 23]) != make_key("x", 1, [12, 3])


def test_a_digest_stands_for_a_value_whatever_the_order_of_its_fields() -> None:
    assert digest({"a": 1, "b": [2]}) == digest({"b": (2,), "a": 1})
    assert digest("a") != digest(b"a")
    assert len(digest("a" * 100_000)) == 32


def test_a_value_without_an_exact_form_has_no_key() -> None:
    with pytest.raises(UnencodableError):
        make_key("x", 1, {"a": float("nan")})
    with pytest.raises(UnencodableError):
        digest({1})


def test_the_examples_are_true() -> None:
    results = doctest.testmod(cache.keys)
    assert results.attempted > 0
    assert results.failed == 0
