"""The class of an error is the retry policy, and errors survive a trip to another process."""

import copy
import pickle
from collections.abc import Iterator

import pytest

from backends import errors
from backends.errors import BackendError


def _with_subclasses(kind: type[BackendError]) -> Iterator[type[BackendError]]:
    yield kind
    for subclass in kind.__subclasses__():
        yield from _with_subclasses(subclass)


EVERY = [kind for kind in _with_subclasses(BackendError) if kind.__module__ == errors.__name__]

# {class: (retryable, max_retries, blames_prompt)}
TAXONOMY = {
    errors.BackendError: (False, None, False),
    errors.BadRequestError: (False, None, True),
    errors.UnknownModelError: (False, None, False),
    errors.ContextOverflowError: (False, None, True),
    errors.AuthenticationError: (False, None, False),
    errors.RateLimitError: (True, None, False),
    errors.ServerUnavailableError: (True, None, False),
    errors.GatewayError: (True, 2, True),
    errors.ServerError: (True, 1, True),
    errors.AbortedError: (True, None, True),
    errors.BackendTimeoutError: (True, 2, True),
    errors.BackendConnectionError: (True, None, False),
    errors.CertificateError: (False, None, False),
    errors.ConnectionLostError: (True, 2, True),
    errors.ServerSilentError: (True, None, False),
    errors.ServerGoneError: (False, None, False),
    errors.ResponseFormatError: (True, 1, True),
    errors.LostLogprobsError: (True, 3, True),
    errors.ContentFilterError: (False, None, True),
    errors.ReplicasDifferError: (False, None, False),
    errors.GPUMemoryError: (False, None, False),
    errors.ModelNotLoadedError: (False, None, False),
}


def test_every_error_has_its_place_in_the_taxonomy() -> None:
    assert set(EVERY) == set(TAXONOMY)
    assert {kind: (kind.retryable, kind.max_retries, kind.blames_prompt) for kind in EVERY} == TAXONOMY


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_is_drawn_in_the_module_s_tree(kind: type[BackendError]) -> None:
    assert f"{kind.__name__} " in f"{errors.__doc__} ".replace("\n", " ")


@pytest.mark.parametrize("kind", EVERY)
def test_every_error_pickles_with_its_attributes(kind: type[BackendError]) -> None:
    error = kind("no answer", status_code=429, retry_after_seconds=1.5)
    error.add_note("item 7")
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error)):  # noqa: S301 - our own bytes
        assert type(twin) is kind
        assert str(twin) == "no answer"
        assert (twin.status_code, twin.retry_after_seconds) == (429, 1.5)
        assert twin.__notes__ == ["item 7"]


def test_a_group_of_errors_pickles() -> None:
    group = ExceptionGroup("2 failed", [kind("why", status_code=500) for kind in EVERY])
    twin = pickle.loads(pickle.dumps(group))  # noqa: S301 - our own bytes
    assert [(type(one), one.status_code) for one in twin.exceptions] == [(kind, 500) for kind in EVERY]


def test_a_prompt_that_is_too_long_says_by_how_much_also_after_a_trip() -> None:
    error = errors.ContextOverflowError("too long", estimated_tokens=35_000, limit_tokens=28_000)
    twin = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes
    assert (twin.estimated_tokens, twin.limit_tokens, twin.excess_tokens) == (35_000, 28_000, 7_000)
    assert errors.ContextOverflowError("too long").excess_tokens is None
