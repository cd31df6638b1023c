"""The ways in which no answer comes.

The class of an error is the retry policy: `retrying.py` looks at its class attributes and nothing else.

    BackendError
    + BadRequestError         400, 404, 413, 422      sending it again cannot help
      + UnknownModelError     404                     nor can sending it without its neighbours
      + ContextOverflowError  400                     the prompt does not fit the model's context
    + AuthenticationError     401, 402, 403
    + RateLimitError          429                     retryable
    + ServerUnavailableError  503, 529                retryable
      + GatewayError          502, 504                retryable, twice
    + ServerError             other 5xx               retryable, once
      + AbortedError          200, but "abort"        retryable
    + BackendTimeoutError     no answer in time       retryable, twice
    + BackendConnectionError  refused, DNS            retryable
      + CertificateError      not to be trusted
      + ConnectionLostError   reset, cut off          retryable, twice
      + ServerSilentError     says nothing            retryable
      + ServerGoneError       away for too long
    + ResponseFormatError     unreadable answer       retryable, once
      + LostLogprobsError     -9999 in their place    retryable, three times
    + ContentFilterError      an answer withheld
    + ReplicasDifferError     servers that should be one and the same
    + ModelNotLoadedError     an engine of this process that could not be made
    + GPUMemoryError          a GPU has no room

Where to look for a case: a model that is not loaded is ModelNotLoadedError in this process, UnknownModelError
at a server; a generation that failed is ServerError or AbortedError if it may be tried again, BadRequestError
or ContentFilterError if not; a prompt that is too long is ContextOverflowError; no connection, and an engine
that died, are BackendConnectionError. What is wrong with the configuration is no BackendError, since it is
found before anything is asked: ModelNameError and NotInstalledError in registry.py, SettingsError in flows.
"""

from typing import ClassVar


class BackendError(Exception):
    """No answer to a request.

    Attributes:
        retryable: Sending the same again may help.
        max_retries: How often at most, where the retry policy would allow more; None leaves it to the policy.
        blames_prompt: One prompt of a list may be the cause; the list is worth halving.
        patient: The server asks for time, so time is what bounds the retries, and not their number.
        overflows: The prompt, or the prompt with its answer, does not fit into the model's context. Of a
            class, or of one error where a server says so.
    """

    retryable: ClassVar[bool] = False
    max_retries: ClassVar[int | None] = None
    blames_prompt: ClassVar[bool] = False
    patient: ClassVar[bool] = False
    overflows: bool = False

    def __init__(
        self, message: str, *, status_code: int | None = None, retry_after_seconds: float | None = None
    ) -> None:
        # Servers' own words may hold half a surrogate pair, which no file can.
        super().__init__(message.encode(errors="backslashreplace").decode())
        self.status_code = status_code
        self.retry_after_seconds = retry_after_seconds

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle with the keyword arguments: errors cross processes and are stored by Prefect."""
        return (type(self), self.args, self.__dict__)


class BadRequestError(BackendError):
    """The server refuses this request: a prompt that is too long, a bad parameter, an unknown model."""

    blames_prompt = True


class UnknownModelError(BadRequestError):
    """The server does not serve this model."""

    blames_prompt = False


class ContextOverflowError(BadRequestError):
    """A prompt is longer than what the model, or a budget, has room for.

    Attributes:
        estimated_tokens: Of the prompt; None where a server did not say it.
        limit_tokens: What there is room for; None likewise.
    """

    overflows = True

    def __init__(
        self,
        message: str,
        *,
        estimated_tokens: int | None = None,
        limit_tokens: int | None = None,
        status_code: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, retry_after_seconds=retry_after_seconds)
        self.estimated_tokens = estimated_tokens
        self.limit_tokens = limit_tokens

    @property
    def excess_tokens(self) -> int | None:
        """How many tokens too long the prompt is."""
        if self.estimated_tokens is None or self.limit_tokens is None:
            return None
        return self.estimated_tokens - self.limit_tokens


class AuthenticationError(BackendError):
    """The server wants another API key, or grants this one no access."""


class RateLimitError(BackendError):
    """The server asks for fewer requests."""

    retryable = True
    patient = True


class ServerUnavailableError(BackendError):
    """The server is there but not ready, or its queue is full."""

    retryable = True
    patient = True


class GatewayError(ServerUnavailableError):
    """A gateway got no answer from the server behind it: it is away, died over this, or took too long.

    Of one that is away `/health` says so too, and it is waited for; else a shorter list may help.
    """

    max_retries = 2
    blames_prompt = True
    patient = False


class ServerError(BackendError):
    """The server failed on its own; a second time is seldom luckier than the first."""

    retryable = True
    max_retries = 1
    blames_prompt = True


class AbortedError(ServerError):
    """The server answered 200 but dropped the request, as vLLM does when it shuts down or pauses."""

    max_retries = None


class BackendTimeoutError(BackendError):
    """No answer within the time allowed, which is minutes; a list that is too long for it is halved."""

    retryable = True
    max_retries = 2
    blames_prompt = True


class BackendConnectionError(BackendError):
    """No connection: refused, or an unknown host."""

    retryable = True


class CertificateError(BackendConnectionError):
    """The server's certificate is signed by nobody who is trusted."""

    retryable = False


class ConnectionLostError(BackendConnectionError):
    """The connection broke after the question was sent.

    The server died, or something between here and there gave up on an answer that took too long; then
    every try ends so, and a shorter list helps. A server that is gone refuses the next connection.
    """

    max_retries = 2
    blames_prompt = True


class ServerSilentError(BackendConnectionError):
    """The server keeps its connections and says nothing for long: it is frozen, or its machine is gone."""


class ServerGoneError(BackendConnectionError):
    """The server stayed away for longer than it was to be waited for."""

    retryable = False


class ResponseFormatError(BackendError):
    """An answer, but not one that can be read or trusted."""

    retryable = True
    max_retries = 1
    blames_prompt = True


class LostLogprobsError(ResponseFormatError):
    """The server lost log-probabilities because others asked it for another kind of them (PR 51789)."""

    max_retries = 3


class ContentFilterError(BackendError):
    """The server has an answer and withholds it."""

    blames_prompt = True


class ReplicasDifferError(BackendError):
    """A server does not serve what the others serve that are to answer in its place."""


class ModelNotLoadedError(BackendError):
    """The engine that was to run in this process could not be made: no such model, or no room for it."""


class GPUMemoryError(BackendError):
    """No GPU has as much free memory as is needed.

    Attributes:
        needed_bytes: How much is needed; None where nobody can tell, as of an engine that ran out of it.
        free_bytes: What the GPU with the most free memory has free.
        waited_seconds: How long it was waited for.
    """

    def __init__(
        self,
        message: str,
        *,
        needed_bytes: int | None = None,
        free_bytes: int | None = None,
        waited_seconds: float = 0.0,
        status_code: int | None = None,
        retry_after_seconds: float | None = None,
    ) -> None:
        super().__init__(message, status_code=status_code, retry_after_seconds=retry_after_seconds)
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.waited_seconds = waited_seconds


def is_absence(error: BackendError) -> bool:
    """Whether a server that is away, starting or frozen fails so; it is worth waiting for."""
    return error.retryable and isinstance(error, (*AWAY, BackendTimeoutError))


AWAY = (BackendConnectionError, ServerUnavailableError, AbortedError)
"""What a server that stops, starts or is gone answers; any other failure comes from one that is there."""

BROKEN = (BackendConnectionError, GatewayError)
"""After these the server may have been started again, and be another one."""
