"""Makes a Prefect flow of a function, and ends it in one sentence where an error of ours comes out."""

import functools
import inspect
from collections.abc import Callable, Coroutine
from typing import Any, ParamSpec, TypeVar, cast

from prefect import Flow, flow
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import BaseModel

from backends.errors import BackendError
from backends.prices import PricesError
from backends.registry import ModelNameError, NotInstalledError
from flows.ace_source import RowsError
from flows.answering import RunStoppedError
from flows.batch_results import TooManyFailedError
from flows.deployment_defaults import deployment_defaults, laid_over
from flows.extraction_results import TooManyFailedDocumentsError
from flows.run_parameters import ParametersError, checked
from flows.told import UNDERSTOOD
from tasks.ace.own_code import TaskCodeError
from tasks.ace.playbook_json import PlaybookFileError
from tasks.ace.spec import TaskError
from tasks.batch.rows import InputError
from tasks.extraction.sources import DocumentsError
from tasks.generate import UnansweredError
from tasks.icm.claims import DataError
from tasks.icm.scoring import LabelMassError
from tasks.identity import WeightsChangedError
from tasks.tokens.chat_template import TokenizerError

P = ParamSpec("P")
R = TypeVar("R")

TOLD = (
    *UNDERSTOOD,
    BackendError,
    DataError,
    DocumentsError,
    InputError,
    LabelMassError,
    ModelNameError,
    NotInstalledError,
    ParametersError,
    PlaybookFileError,
    PricesError,
    RowsError,
    RunStoppedError,
    TaskCodeError,
    TaskError,
    TokenizerError,
    TooManyFailedDocumentsError,
    TooManyFailedError,
    UnansweredError,
    WeightsChangedError,
)
"""Errors that say what is wrong and what to do; a traceback would only bury that."""

AsyncFunction = Callable[P, Coroutine[Any, Any, R]]


def workflow(name: str) -> Callable[[AsyncFunction[P, R]], Flow[P, Coroutine[Any, Any, R]]]:
    """Make a flow of this name of an async function, with nothing pickled and no traceback for known errors.

    Called as a function it raises what the function raises. As a flow run it then ends Failed; an error that
    is understood is the message of that state, and Prefect logs it in the one line that tells of the end.
    """

    def make(function: AsyncFunction[P, R]) -> Flow[P, Coroutine[Any, Any, R]]:
        # Prefect writes the error of any failed run, as a pickle unless told otherwise; and what is wrong
        # with parameters it finds before it has a log.
        made = flow(name=name, validate_parameters=False, persist_result=False, result_serializer="json")(
            function
        )
        # Afterwards: from the function itself Prefect has taken its file, its version and the form in the UI.
        made.fn = cast("Any", _told(function))
        return made

    return make


def sentence_of(error: BaseException) -> str | None:
    """Return what to tell of an error, on one line; None if it is unexpected."""
    if isinstance(error, UnansweredError):
        return _one_line(error.message)
    if isinstance(error, BaseExceptionGroup):
        group = cast("BaseExceptionGroup[BaseException]", error)
        sentences = [sentence_of(one) for one in group.exceptions]
        return None if None in sentences else sentences[0]
    known = isinstance(error, TOLD) or (isinstance(error, OSError) and error.filename is not None)
    return _one_line(f"{type(error).__name__}: {error}") if known else None


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _told(function: AsyncFunction[P, R]) -> Callable[P, Coroutine[Any, Any, R | State[Any]]]:
    """Return the function with its parameters checked, and a failed state in place of a known error."""
    signature = inspect.signature(function, eval_str=True)

    @functools.wraps(function)
    async def told(*args: P.args, **kwargs: P.kwargs) -> R | State[Any]:
        try:
            given = signature.bind(*args, **kwargs)
            defaults = await deployment_defaults()
            for name, value in given.arguments.items():
                kind = signature.parameters[name].annotation
                if inspect.isclass(kind) and issubclass(kind, BaseModel):
                    filled = laid_over(kind, defaults.get(name, {}), value)
                    given.arguments[name] = checked(kind, filled)
            return await function(*given.args, **given.kwargs)
        except Exception as error:
            sentence = sentence_of(error)
            if sentence is None:
                raise
            return Failed(message=sentence, data=error)

    return told
