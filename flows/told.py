"""Errors that we understand, told in one sentence on the command line: never a traceback."""

import sys
from collections.abc import Generator
from contextlib import contextmanager

import typer

from backends.serving.errors import ServingError
from cache.errors import CacheError
from flows.settings import SettingsError
from tasks.extraction.gold import GoldError
from tasks.extraction.langextract_format import LangextractFileError
from tasks.extraction.spec import SpecError

UNDERSTOOD = (ServingError, CacheError, SettingsError, GoldError, LangextractFileError, SpecError)
"""Errors whose message says what is wrong and what to do."""


@contextmanager
def in_one_sentence(when_stopped: str) -> Generator[None]:
    """End the program with code 1 and a sentence where an error of ours, or of the disk, comes out.

    Args:
        when_stopped: What to say after Ctrl-C.
    """
    try:
        yield
    except UNDERSTOOD as error:
        _end(str(error), 1)
    except BrokenPipeError:
        raise  # typer ends quietly when `head` has seen enough
    except OSError as error:
        _end(f"{error.filename or 'the disk'}: {error.strerror or error}.", 1)
    except KeyboardInterrupt:
        _end(f"stopped; {when_stopped}.", 130)


def _end(sentence: str, code: int) -> None:
    typer.echo(f"vllm-flows: {sentence}", err=True)
    sys.exit(code)
