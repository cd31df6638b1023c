"""Keeps a playbook within its room: what the model's context holds, what harms, what is there twice."""

from collections.abc import Sequence
from functools import partial

import anyio.to_thread
from prefect.logging import get_run_logger

from backends.base import Outcome
from backends.messages import Request
from flows.ace_models import Roles
from flows.ace_parameters import AceBase
from flows.model_serving import serving_of
from flows.run import Run
from flows.settings import SettingsError
from flows.token_counting import token_counter
from tasks.ace.answers import read_object
from tasks.ace.deltas import Change
from tasks.ace.embeddings import LocalEmbedder
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import generator_messages
from tasks.ace.pruning import PlaybookTokens, prune
from tasks.ace.refining import Curator, Refined, refine, refine_by_curator
from tasks.ace.rendering import in_tags
from tasks.ace.roles import Role, purpose_of
from tasks.ace.similarity import Embedded, Lexical
from tasks.ace.values import AceTask, Question
from tasks.tokens.counting import TokenCounter

REVIEW_TOKENS = 800
"""What a review adds to a question: four texts of at most 600 characters."""

NEARLY_FULL = 0.8
"""From this share of its room on the Curator is told, and lazy refinement sets in."""


class Tidying:
    """Satisfies `Tidy` and `Room`: merges duplicates and prunes after each step, and says what room is left.

    Args:
        parameters: Of the run.
        counter: Counts the model's own tokens.
        max_tokens: Of the playbook.
        curator: Merges duplicates, where the parameters say that it is to.
    """

    def __init__(self, parameters: AceBase, counter: TokenCounter, max_tokens: int, curator: Role) -> None:
        self._parameters = parameters
        self._tokens = PlaybookTokens(counter.count_text)
        self._curator = curator
        self._similarity = (
            Embedded(embedder=LocalEmbedder()) if parameters.similarity == "embedded" else Lexical()
        )
        self.max_tokens = max_tokens

    async def __call__(self, playbook: Playbook, step: int) -> tuple[Playbook, list[Change]]:
        """Merge duplicates where that is due, and prune."""
        changes: list[Change] = []
        when = self._parameters.refine
        if when == "eager" or (when == "lazy" and await self._is_nearly_full(playbook)):
            refined = await self._refined(playbook)
            playbook, changes = refined.playbook, list(refined.changes)
        pruned, gone = prune(
            playbook,
            await self._tokens.of_bullets(playbook),
            max_tokens=self.max_tokens,
            step=step,
            max_harmful=self._parameters.max_harmful,
        )
        return pruned, [*changes, *gone]

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
        return await self.total(playbook) >= NEARLY_FULL * self.max_tokens

    async def total(self, playbook: Playbook) -> int:
        """Return the tokens of a playbook as it is shown."""
        return await self._tokens.total(playbook)

    async def room(self, playbook: Playbook) -> str:
        """Tell the Curator where the playbook is nearly full; else nothing, so that prompts stay alike."""
        if not await self._is_nearly_full(playbook):
            return ""
        total = await self.total(playbook)
        return (
            f"The playbook has {total:,} of at most {self.max_tokens:,} tokens: prefer UPDATE, MERGE and "
            "REMOVE to ADD."
        )


async def open_tidying(
    parameters: AceBase, run: Run, roles: Roles, task: AceTask, questions: Sequence[Question]
) -> Tidying:
    """Find out how much room a playbook has, and who counts it.

    Raises:
        SettingsError: The context holds no question with a playbook.
        BackendError: The server is not there to say how long its context is.
    """
    serving = await serving_of(run)
    counter = await token_counter(run, serving)
    max_tokens = parameters.playbook_tokens
    context = serving.max_model_len if serving else None
    if context is not None:
        longest = max(questions, key=lambda one: len(one.text) + len(one.context))
        fixed = await counter.count_messages(generator_messages(task, in_tags(""), longest))
        answer = max(one.sampling.max_tokens for one in roles.generator.tiers)
        room = context - fixed - answer - REVIEW_TOKENS
        if room <= 0:
            raise SettingsError(
                f"the context of {run.model!r} has {context:,} tokens, of which a question takes {fixed:,}, "
                f"its answer up to {answer:,} and a review {REVIEW_TOKENS:,}: there is no room for a "
                "playbook; lower max_output_tokens, or serve the model with a longer context"
            )
        if room < max_tokens:
            get_run_logger().info(
                "the playbook may have %s tokens, since the context has %s", f"{room:,}", f"{context:,}"
            )
        max_tokens = min(max_tokens, room)
    return Tidying(parameters, counter, max_tokens, roles.curator)
