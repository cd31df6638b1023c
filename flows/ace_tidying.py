"""Keeps a playbook within its room: what the model's context holds, what harms, what is there twice."""

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import anyio.to_thread
from prefect.logging import get_run_logger

from backends.base import Outcome
from backends.messages import Request
from flows.ace_models import Roles
from flows.ace_parameters import AceBase
from flows.ace_room import TokenRoom, contexts_of, find_room, nearly_full
from flows.model_serving import serving_of
from flows.run import Run
from flows.token_counting import token_counter
from tasks.ace.answers import read_object
from tasks.ace.bullets import MAX_NUMBER
from tasks.ace.deltas import Change
from tasks.ace.embeddings import LocalEmbedder
from tasks.ace.playbook import Playbook
from tasks.ace.pruning import PlaybookTokens, prune
from tasks.ace.refining import Curator, Refined, refine, refine_by_curator
from tasks.ace.remembering import Remembering
from tasks.ace.roles import Role, purpose_of
from tasks.ace.similarity import Embedded, Lexical
from tasks.ace.values import AceTask, Question
from tasks.tokens.counting import TokenCounter

NEARLY_FULL = 0.8
"""From this share of its room on the Curator is told, and lazy refinement sets in."""

BEFORE_ALL = -1
"""No step: of a playbook to begin with, no bullet is new."""


class Tidying:
    """Satisfies `Tidy` and `Room`: merges duplicates and prunes after each step, and says what room is left.

    Args:
        parameters: Of the run.
        counter: Counts the model's own tokens.
        room: What there is of it.
        curator: Merges duplicates, where the parameters say that it is to.
    """

    def __init__(self, parameters: AceBase, counter: TokenCounter, room: TokenRoom, curator: Role) -> None:
        self._parameters = parameters
        self._counter = counter
        self._tokens = PlaybookTokens(counter.count_text, parameters.rendering)
        self._curator = curator
        is_embedded = parameters.similarity == "embedded"
        # Remembering: from step to step only a few bullets are new.
        self._similarity = Remembering(Embedded(embedder=LocalEmbedder()) if is_embedded else Lexical())
        self._room = room
        self.max_tokens = room.playbook

    async def __call__(self, playbook: Playbook, step: int) -> tuple[Playbook, list[Change]]:
        """Merge duplicates where that is due, and prune."""
        changes: list[Change] = []
        when = self._parameters.refine
        if when == "eager" or (when == "lazy" and await self._is_nearly_full(playbook)):
            refined = await self._refined(playbook)
            playbook, changes = refined.playbook, list(refined.changes)
        pruned, gone = await self._pruned(playbook, step, self._parameters.max_harmful)
        return pruned, [*changes, *gone]

    async def fit(self, start: Playbook) -> tuple[Playbook, str | None]:
        """Take out of the playbook to begin with what there is no room for.

        Returns:
            What is left, and what to say of what is not; None: all of it is left.
        """
        left, gone = await self._pruned(start, BEFORE_ALL, max_harmful=MAX_NUMBER + 1)
        if not gone:
            return start, None
        shown, most = await self.total(start), await self._most(left)
        return left, (
            f"{len(gone):,} of the {len(start):,} bullets of the playbook to begin with were left out, those "
            f"worth least: it has {shown:,} tokens as it is shown, and there is room for {most:,}; raise "
            "playbook_tokens, or serve the model with a longer context, to keep them"
        )

    async def fits_instead(self, text: str) -> bool:
        """Say whether a text can be shown to the Generator in place of a playbook."""
        instead = self._room.instead
        return instead is None or await self._counter.count_text(text) <= instead

    async def _pruned(self, playbook: Playbook, step: int, max_harmful: int) -> tuple[Playbook, list[Change]]:
        """Take out what harms, and what there is no room for: as answers are asked for, then as edits are."""
        headings = await self._tokens.of_headings(playbook)
        take = partial(prune, step=step, max_harmful=max_harmful)
        left, gone = take(
            playbook, await self._tokens.of_bullets(playbook), max_tokens=self._room.playbook - headings
        )
        if self._room.curated is None:
            return left, gone
        lines, counts = await self._curated(left)
        most = self._room.curated - headings
        # A long list of counts loses its middle, so what is lost by either way of counting need not go.
        ways = (
            take(left, {name: lines[name] + counts[name] for name in lines}, max_tokens=most),
            take(left, lines, max_tokens=most - self._room.counts),
        )
        left, more = min(ways, key=lambda found: len(found[1]))
        return left, [*gone, *more]

    async def _curated(self, playbook: Playbook) -> tuple[dict[str, int], dict[str, int]]:
        """Return the tokens of the bullets and of their counts as a Curator is shown them: after votes."""
        voted = with_more_votes(playbook)
        return await self._tokens.of_bullets(voted), await self._tokens.of_counts(voted)

    async def _most(self, playbook: Playbook) -> int:
        """Return what a playbook may have at most, given what a Curator is shown beside it."""
        if self._room.curated is None:
            return self._room.playbook
        lines, counts = await self._curated(playbook)
        growth = sum(lines.values()) - sum((await self._tokens.of_bullets(playbook)).values())
        beside = growth + min(sum(counts.values()), self._room.counts)
        return min(self._room.playbook, self._room.curated - beside)

    async def _refined(self, playbook: Playbook) -> Refined:
        threshold = self._parameters.similarity_threshold
        if self._parameters.merge_by == "rule":
            return await anyio.to_thread.run_sync(
                partial(refine, playbook, self._similarity, threshold=threshold)
            )
        tier = self._curator.tiers[0]

        async def ask(requests: Sequence[Request], *, purpose: str) -> list[Outcome]:
            return await tier.ask(requests, purpose=purpose_of(self._curator.name, 0, purpose))

        return await refine_by_curator(
            playbook,
            self._similarity,
            ask,
            Curator(model=tier.model, revision=tier.revision, sampling=tier.sampling),
            read=partial(read_object, key="same"),
            threshold=threshold,
        )

    async def _is_nearly_full(self, playbook: Playbook) -> bool:
        return await self.total(playbook) >= NEARLY_FULL * await self._most(playbook)

    async def total(self, playbook: Playbook) -> int:
        """Return the tokens of a playbook as it is shown."""
        return await self._tokens.total(playbook)

    async def room(self, playbook: Playbook) -> str:
        """Tell the Curator where the playbook is nearly full; else nothing, so that prompts stay alike."""
        if not await self._is_nearly_full(playbook):
            return ""
        return nearly_full(await self.total(playbook), await self._most(playbook))


def with_more_votes(playbook: Playbook) -> Playbook:
    """Return a playbook whose counters have a digit more, and two at least: after the votes of a step."""

    def more(count: int) -> int:
        return 10 ** (len(str(count)) + 1) - 1

    counts = {
        name: replace(one, helpful=more(one.helpful), harmful=more(one.harmful))
        for name, one in playbook.counts.items()
    }
    return replace(playbook, counts=counts)


async def open_tidying(
    parameters: AceBase,
    run: Run,
    roles: Roles,
    task: AceTask,
    questions: Sequence[Question],
    start: Playbook | None = None,
) -> Tidying:
    """Find out how much room a playbook has, and who counts it.

    Args:
        parameters: Of the run.
        run: Answers.
        roles: Who is shown the playbook.
        task: What is asked.
        questions: All that will be asked.
        start: The playbook to begin with, for its sections; by default, one with the usual ones.

    Raises:
        SettingsError: A context holds no question with a playbook, or no review with one.
        BackendError: The server is not there to say how long its context is.
    """
    serving = await serving_of(run)
    counter = await token_counter(run, serving)
    contexts = await contexts_of(parameters, run, serving)
    start = Playbook() if start is None else start
    room = await find_room(parameters, counter, roles, contexts, task, questions, start)
    if room.playbook < parameters.playbook_tokens:
        get_run_logger().info(
            "the playbook may have %s tokens, since the context has %s",
            f"{room.playbook:,}",
            f"{min(contexts.values()):,}",
        )
    return Tidying(parameters, counter, room, roles.curator)
