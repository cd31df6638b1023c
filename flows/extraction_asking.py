"""Who extracts from a document: a model, whose own tokens are counted, or eyecite."""

import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import anyio
import anyio.to_thread
from prefect.logging import get_run_logger

from backends.addresses import is_loopback
from backends.errors import BackendError, BadRequestError
from backends.messages import Message, Request, SamplingParams
from cache.errors import CacheMissError
from cache.lookup import CacheMode
from flows.extraction_documents import Extract
from flows.extraction_parameters import ExtractionParameters
from flows.extraction_serving import PATIENCE_SECONDS, Serving, serving_of
from flows.run import Run
from tasks.ask import AskEach
from tasks.extraction.asking import Asker, Settings
from tasks.extraction.budgets import Budget, fitted
from tasks.extraction.chat_template import TokenizerError
from tasks.extraction.chunking import shift_of, split
from tasks.extraction.citations import LABELS, cite
from tasks.extraction.extracting import Extracted, Extractor
from tasks.extraction.prompting import Prompting
from tasks.extraction.remembered import RememberedCounter
from tasks.extraction.rooms import Room
from tasks.extraction.schema import answer_schema
from tasks.extraction.spec import ExtractionSpec, LabelSpec
from tasks.extraction.tokens import RoughCounter, ServerCounter, TokenCounter, local_counter
from tasks.extraction.values import Document, Window
from tasks.generate import Generator

CHARACTERS_A_TOKEN = 4
"""About; for the overlap of the halves of a chunk."""


async def extract_with(
    parameters: ExtractionParameters, spec: ExtractionSpec, run: Run, ask: AskEach
) -> Extract:
    """Return what extracts from a document by asking the run's model.

    Raises:
        ContextOverflowError: Instructions and examples leave no room for a text.
        BackendError: The server is not there to say how long its context is.
    """
    serving = await serving_of(run)
    counter = await _counter(run, serving)
    budget = _budget(parameters, serving)
    room = await Room.measured(budget, counter, Prompting(spec))
    settings = Settings(
        spec=spec,
        model=run.model,
        revision=run.revision,
        sampling=parameters.sampling(),
        json_schema=_schema(parameters, spec),
        max_items=parameters.max_items if parameters.structured_output else None,
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
    extractor = Extractor(asker=asker, spec=spec, passes=parameters.passes, min_votes=parameters.min_votes)
    return extractor.extract


def _count_overflow(generator: Generator) -> None:
    generator.tally.overflows += 1


async def _counter(run: Run, serving: Serving | None) -> TokenCounter:
    """Return who counts tokens: the model's own tokenizer where its files are, else the server."""
    if serving is not None and _is_here(serving.root, run):
        try:
            local = await anyio.to_thread.run_sync(partial(local_counter, serving.root))
            await _require_the_same(local, run)
        except TokenizerError as error:
            get_run_logger().info("tokens are counted by the server: %s", error)
        else:
            return local
    why = "nothing here can count them"
    if run.server is not None:
        counter = ServerCounter(run.server, run.model)
        server = RememberedCounter(counter, run.generator.lookup, run.model, run.revision)
        try:
            await server.count_text("How many tokens has this?")
        except (BadRequestError, CacheMissError) as error:  # one that has no /tokenize says 404
            why = str(error)
        else:
            return server
    get_run_logger().warning("tokens of %s are guessed from bytes: %s", run.model, why)
    return RoughCounter()


async def _require_the_same(local: TokenCounter, run: Run) -> None:
    """Make sure, where the server can be asked, that it has the tokenizer and the chat template of the files.

    Raises:
        TokenizerError: It has not, or there is no template.
    """
    probe = (Message(role="user", content="How many tokens has this?"),)
    ours = await local.count_messages(probe)
    if run.server is None or run.generator.lookup.mode is CacheMode.REPLAY:
        return
    request = Request(model=run.model, messages=probe, sampling=SamplingParams(max_tokens=1))
    with suppress(BackendError, TimeoutError), anyio.fail_after(PATIENCE_SECONDS):
        theirs = await run.server.count_tokens(request)
        if theirs != ours:
            raise TokenizerError(f"it has another chat template than its files ({theirs} tokens, not {ours})")


def _is_here(root: str, run: Run) -> bool:
    """Whether a model's files may be looked for on this machine: another one's paths say nothing here."""
    return not Path(root).is_absolute() or all(map(is_loopback, run.settings.base_urls))


def _budget(parameters: ExtractionParameters, serving: Serving | None) -> Budget:
    wanted = parameters.budget()
    if serving is None or serving.max_model_len is None:
        return wanted
    return fitted(wanted, serving.max_model_len)


def _schema(parameters: ExtractionParameters, spec: ExtractionSpec) -> str | None:
    if not parameters.structured_output:
        return None
    return json.dumps(answer_schema(spec, max_items=parameters.max_items))


def _overlap_characters(parameters: ExtractionParameters) -> int:
    size, overlap = parameters.chunk_size
    del size
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
