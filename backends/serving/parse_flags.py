# Run by the Python of a vLLM environment; the client's has no vLLM.
# pyright: basic, reportMissingImports=false
"""Feed command lines to vLLM's own parser, without starting anything.

Reads `{name: [argument, ...]}` as JSON from standard input and writes `{name: complaint}` to standard
output, with an entry for each line that vLLM would refuse.
"""

import json
import sys
from typing import NoReturn

from vllm.engine.arg_utils import AsyncEngineArgs
from vllm.entrypoints.launchers.cli_args import make_arg_parser, validate_parsed_serve_args
from vllm.utils.argparse_utils import FlexibleArgumentParser


class Parser(FlexibleArgumentParser):
    """vLLM's parser, which raises where it would leave the process."""

    def error(self, message: str) -> NoReturn:
        """Raise the complaint."""
        raise ValueError(message)


def complaint(arguments: list[str]) -> str | None:
    """Return why vLLM refuses a command line, or None."""
    try:
        options = make_arg_parser(Parser()).parse_args(arguments)
        validate_parsed_serve_args(options)
        AsyncEngineArgs.from_cli_args(options)
    except (ValueError, TypeError) as error:
        return str(error)
    return None


if __name__ == "__main__":
    found = {name: complaint(arguments) for name, arguments in json.load(sys.stdin).items()}
    json.dump({name: text for name, text in found.items() if text is not None}, sys.stdout)
