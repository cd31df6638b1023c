"""Who extracts from a document: a model, whose own tokens are counted, or eyecite."""

import json
from collections.abc import Awaitable, Callable, Sequence
from functools import partial

import anyio
import anyio.to_thread
from prefect.logging import get_run_logger

from flows.extraction_documents import Extract
from flows.extraction_parameters import ExtractionParameters
from flows.model_serving import Serving, serving_of
from flows.run import Run
from flows.settings import SettingsError
from flows.token_counting import token_counter
from tasks.ask import AskEach
from tasks.extraction.asking import Asker, Settings
from tasks.extraction.budgets import Budget, fitted
from tasks.extraction.chunking import shift_of, split
from tasks.extraction.citations import LABELS, cite
from tasks.extraction.extracting import Extracted, Extractor
from tasks.extraction.prompting import Prompting
from tasks.extraction.rooms import Room
from tasks.extraction.schema import answer_schema
from tasks.extraction.spec import ExtractionSpec, LabelSpec
from tasks.extraction.values import Document, Window
from tasks.generate import Generator
from tasks.tokens.counting import TokenCounter

CHARACTERS_A_TOKEN = 4
"""About; for the overlap of the halves of a chunk."""


async def extract_with(
    parameters: ExtractionParameters, spec: ExtractionSpec, run: Run, ask: AskEach
) -> Extract:
    """Return what extracts from a document by asking the run's model.

    Raises:
        SettingsError: The model's context holds no question and answer.
        ContextOverflowError: Instructions and examples leave no room for a text.
        BackendError: The server is not there to say how long its context is.
    """
    serving = await serving_of(run)
    counter = await token_counter(run, serving)
    budget = _budget(parameters, run, serving)
    room = await Room.measured(budget, counter, Prompting(spec))
    settings = Settings(
        spec=spec,
        model=run.model,
        revision=run.revision,
        sampling=parameters.sampling(),
        json_schema=_schema(parameters, spec),
        max_items=parameters.max_items if parameters.structured_output else None,
        max_halvings=parameters.max_halvings,
        overlap_characters=_overlap_characters(parameters),
        passes=parameters.passes,
        pass_temperature=parameters.pass_temperature,
    )
    asker = Asker(
        settings=settings,
        ask=ask,
        windows=_cutter(parameters, room, counter),
        max_tokens=room.answer_tokens,
        retries=run.estimator is None,
        overflowed=partial(_count_overflow, run.generator),
    )
    extractor = Extractor(
        asker=asker,
        spec=spec,
        passes=parameters.passes,
        min_votes=parameters.min_votes,
        fuzzy=parameters.fuzzy,
    )
    return extractor.extract


def _count_overflow(generator: Generator) -> None:
    generator.tally.overflows += 1


def _budget(parameters: ExtractionParameters, run: Run, serving: Serving | None) -> Budget:
    wanted = parameters.budget()
    if serving is None or serving.max_model_len is None:
        return wanted
    try:
        return fitted(wanted, serving.max_model_len)
    except ValueError as error:
        raise SettingsError(f"{run.model}: {error}") from error


def _schema(parameters: ExtractionParameters, spec: ExtractionSpec) -> str | None:
    if not parameters.structured_output:
        return None
    return json.dumps(answer_schema(spec, max_items=parameters.max_items))


def _overlap_characters(parameters: ExtractionParameters) -> int:
    _, overlap = parameters.chunk_size
    return overlap if parameters.chunk_characters is not None else overlap * CHARACTERS_A_TOKEN


def _cutter(
    parameters: ExtractionParameters, room: Room, counter: TokenCounter
) -> Callable[[str, int], Awaitable[Sequence[Window]]]:
    """Return what cuts a text for a pass; each pass cuts elsewhere."""
    size, overlap = parameters.chunk_size
    context = parameters.context_characters
    in_tokens = parameters.chunk_characters is None
    if in_tokens and (fits := room.chunk_tokens(context_characters=context)) < size:
        get_run_logger().warning("chunks of %d tokens do not fit the context; they have %d", size, fits)
        size, overlap = fits, min(overlap, fits // 2)
    cut = partial(split, size=size, overlap=overlap, counter=counter if in_tokens else None, context=context)

    async def windows(text: str, number: int) -> Sequence[Window]:
        return await cut(text, shift=shift_of(number))

    return windows


async def extract_citations(document: Document) -> Extracted:
    """Find a document's citations; no model is asked."""
    entities = await anyio.to_thread.run_sync(cite, document.text)
    return Extracted(
        document=document,
        entities=tuple(entities),
        failed=(),
        coverage=1.0,
        missed=(),
        chunks=0,
        asked=0,
        invalid_items=0,
    )


def citation_spec() -> ExtractionSpec:
    """Describe what eyecite finds."""
    labels = tuple(LabelSpec(name=name, description=f"eyecite's {kind}") for kind, name in LABELS.items())
    return ExtractionSpec(name="citations", description="Legal citations, found by eyecite.", labels=labels)
