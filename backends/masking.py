"""Hides secrets in errors: servers and gateways repeat keys and headers in what they say."""

import json
import re
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from backends.addresses import MASK
from backends.errors import BackendError

SHORTEST = 4
"""Characters of the shortest secret that is hidden; less is part of any word."""

SHORTEST_CUT = 8
"""Characters of the shortest beginning of a secret that is hidden at the end of a text."""


class Mask:
    """Writes `***` for secrets, however a server wrote them; also for what a cut has left at the end.

    Args:
        secrets: In plain text; never shown.
    """

    def __init__(self, secrets: Iterable[str]) -> None:
        written = {form for secret in secrets for form in _forms(secret) if len(form) >= SHORTEST}
        self._written = sorted(written, key=len, reverse=True)  # the whole before its parts
        self._pattern = re.compile("|".join(map(re.escape, self._written)) or r"(?!)")

    def __call__(self, text: str) -> str:
        """Return the text without the secrets."""
        hidden = self._pattern.sub(MASK, text)
        for secret in self._written:
            for length in range(len(secret) - 1, SHORTEST_CUT - 1, -1):
                if hidden.endswith(secret[:length]):
                    return hidden[:-length] + MASK
        return hidden

    @contextmanager
    def errors(self) -> Generator[None]:
        """Hide the secrets in any error of ours that comes out, and its causes if they show one."""
        try:
            yield
        except BackendError as error:
            error.args = tuple(self(str(part)) for part in error.args)
            if any(self(shown) != shown for cause in _causes(error) for shown in (str(cause), repr(cause))):
                error.__cause__ = error.__context__ = None
            raise


def _forms(secret: str) -> set[str]:
    return {secret, quote(secret, safe=""), json.dumps(secret)[1:-1]}


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    cause = error.__cause__ or error.__context__
    while cause is not None and id(cause) not in seen:
        yield cause
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
