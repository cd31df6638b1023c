"""A server that comes or goes moves its own share of the groups and no other."""

from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from backends.rendezvous import PREFIX_CHARACTERS, prefix_group, ranked
from tests.helpers import chat, completion

SERVERS = st.lists(st.text(min_size=1, max_size=12), min_size=2, max_size=8, unique=True)
GROUPS = st.lists(st.binary(min_size=16, max_size=16), max_size=30)


@given(SERVERS, GROUPS, st.data())
def test_losing_a_server_moves_its_own_groups_only(
    servers: list[str], groups: list[bytes], data: st.DataObject
) -> None:
    lost = data.draw(st.sampled_from(servers))
    left = [server for server in servers if server != lost]
    for group in groups:
        before = [servers[place] for place in ranked(group, servers)]
        after = [left[place] for place in ranked(group, left)]
        assert after == [server for server in before if server != lost]


@given(SERVERS, GROUPS, st.randoms(use_true_random=False))
def test_the_order_in_which_servers_are_named_does_not_matter(
    servers: list[str], groups: list[bytes], dice: Random
) -> None:
    shuffled = dice.sample(servers, len(servers))
    for group in groups:
        assert [servers[place] for place in ranked(group, servers)] == [
            shuffled[place] for place in ranked(group, shuffled)
        ]


def test_each_server_gets_about_its_share() -> None:
    groups = [prefix_group(completion(f"question {number}")) for number in range(3000)]
    shares = Counter(ranked(group, ["http://a", "http://b", "http://c"])[0] for group in groups)
    assert min(shares.values()) > 900


@given(st.text(max_size=2 * PREFIX_CHARACTERS), st.text(max_size=20))
def test_what_follows_the_beginning_does_not_matter(beginning: str, rest: str) -> None:
    shared = beginning.ljust(PREFIX_CHARACTERS, "-")
    assert prefix_group(completion(shared)) == prefix_group(completion(shared + rest))
    assert prefix_group(chat(shared)) == prefix_group(completion(shared + rest))


def test_another_beginning_or_another_model_is_another_group() -> None:
    groups = [completion("a"), completion("b"), completion("a", model="other"), completion("a" * 513)]
    assert len({prefix_group(request) for request in groups}) == 4


def test_a_request_may_say_its_group_itself() -> None:
    one, other = completion("a", group="subtree 1"), completion("b", group="subtree 1")
    assert prefix_group(one) == prefix_group(other) != prefix_group(completion("a"))
    assert prefix_group(completion("a", group="subtree 1", model="other")) != prefix_group(one)


def test_a_group_has_the_same_place_in_every_process() -> None:
    group = prefix_group(completion("question"))
    assert group.hex() == "5df620d003a23a888ed7632bcbe6b0b1"
    assert ranked(group, ["http://a", "http://b", "http://c"]) == [1, 2, 0]
