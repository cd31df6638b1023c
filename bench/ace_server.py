"""A made-up server for the bench of ACE: the fake vLLM server, the model of a world, and a clock.

    python -m bench.ace_server KIND ROWS [--port N]

A request takes a fixed time, and one more for each token of the longest of its answers; a token takes longer
where the server computes many answers at once. That is how a server with continuous batching behaves whose
prefix cache has nearly all of each prompt; the figures are made up, and smaller than a real model's, so that
what this project itself takes weighs more than it would.
"""

from collections.abc import Callable, Sequence
from typing import get_args

from bench.ace_worlds import Kind, world
from tests.fake_vllm import Fault, Witness, build_parser, serve

REQUEST_SECONDS = 0.1
TOKEN_SECONDS = 0.002
CROWD = 0.01
"""By how much an answer that is computed beside others slows each of them down."""
CHARACTERS_A_TOKEN = 4


class Clock(Witness):
    """Lets every request take its time.

    Args:
        write: Says what a prompt will be answered with.
    """

    def __init__(self, write: Callable[[str], str]) -> None:
        self._write = write
        self._computing = 0

    def arrived(self, client: str, prompts: Sequence[str]) -> Fault:
        """Say how long a request takes; the fake's name for that is a fault that spoils nothing."""
        del client
        self._computing += len(prompts)
        tokens = max(len(self._write(one)) for one in prompts) / CHARACTERS_A_TOKEN
        seconds = REQUEST_SECONDS + tokens * TOKEN_SECONDS * (1 + CROWD * (self._computing - 1))
        return Fault(kind="hang", seconds=seconds)

    def delivered(self, client: str, prompts: Sequence[str]) -> None:
        """Note that a request is done with."""
        del client
        self._computing -= len(prompts)


def main() -> None:
    """Serve until SIGTERM or SIGINT."""
    parser = build_parser()
    parser.add_argument("kind", choices=get_args(Kind))
    parser.add_argument("rows", type=int)
    options = parser.parse_args()
    made = world(options.kind, options.rows)
    serve(options, Clock(made.write), lambda prompt, _, __: made.write(prompt))


if __name__ == "__main__":
    main()
