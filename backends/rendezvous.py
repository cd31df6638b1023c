"""Which of several servers a prompt belongs to: the same for all prompts that begin alike.

Rendezvous hashing, also called highest random weight (Thaler and Ravishankar, "Using Name-Based Mappings to
Increase Hit Rates", IEEE/ACM Transactions on Networking 6(1), 1998): every server draws a number for a group,
and the highest takes it. A server that is lost gives away its own groups, and a new one takes only its share.
"""

from collections.abc import Sequence
from hashlib import blake2b

from backends.messages import Request, prompt_text

PREFIX_CHARACTERS = 512
"""Some 128 tokens, 8 blocks of vLLM's prefix cache. What shares less gains little by staying together, and is
spread; what shares a system prompt or the first demonstrations stays. Leave-one-out contexts in the
reference's order differ within the first demonstrations only for the first few claims, so nearly all of a
sweep is one group: it starts at one server, and its rest goes to the others in runs of neighbours (see
`replicas.py`). Those in tree order name their subtree."""


def prefix_group(request: Request) -> bytes:
    """Name the group of prompts that a request belongs to, the same in every process.

    What the request itself says, else its beginning. The model is part of it, since every adapter has a cache
    of its own.
    """
    beginning = prompt_text(request)[:PREFIX_CHARACTERS] if request.group is None else request.group
    return blake2b(f"{request.model}\0{beginning}".encode("utf-8", "surrogatepass"), digest_size=16).digest()


def ranked(group: bytes, servers: Sequence[str]) -> list[int]:
    """Return the positions of the servers in the order in which they are to have this group.

    Examples:
        >>> order = ranked(b"group", ["a", "b", "c"])
        >>> [place for place in order if place != 0] == [place + 1 for place in ranked(b"group", ["b", "c"])]
        True
    """

    def weight(place: int) -> bytes:
        return blake2b(servers[place].encode(), key=group, digest_size=16).digest()

    return sorted(range(len(servers)), key=weight, reverse=True)
