"""Whether a conversation fits into a model's context, and how long its answer may be."""

from collections.abc import Sequence

from backends.errors import ContextOverflowError
from backends.messages import Message
from tasks.extraction.budgets import Budget
from tasks.extraction.prompting import Prompting
from tasks.extraction.values import Window
from tasks.tokens.counting import TURN_TOKENS, TokenCounter

LEAST_CHUNK_TOKENS = 16

NOTHING = Window(start=0, end=0, context_start=0, context_end=0)


class Room:
    """The room that a model's context has for the conversations of one spec.

    Args:
        budget: How prompt and answer share the context.
        counter: Counts the model's own tokens.
        constant: Messages that all conversations begin with.
        fixed_tokens: Of a conversation about an empty text.
    """

    def __init__(
        self, budget: Budget, counter: TokenCounter, constant: Sequence[Message], fixed_tokens: int
    ) -> None:
        self._budget = budget
        self._counter = counter
        self._constant = len(constant)
        self._fixed_tokens = fixed_tokens

    @classmethod
    async def measured(cls, budget: Budget, counter: TokenCounter, prompting: Prompting) -> "Room":
        """Count what is the same in all conversations.

        Raises:
            BackendError: The tokens cannot be counted.
        """
        fixed = await counter.count_messages(prompting.messages("", NOTHING))
        return cls(budget, counter, prompting.constant, fixed)

    def chunk_tokens(self, *, context_characters: int = 0) -> int:
        """Return how many tokens a chunk may have, with all the answer that is wanted.

        Where instructions and examples leave no room for that, chunk and answer share what they leave.

        Args:
            context_characters: Shown before and after it each; a character is a token at most, nearly always.

        Raises:
            ContextOverflowError: They leave none.
        """
        fixed, budget = self._fixed_tokens + 2 * context_characters, self._budget
        room = min(budget.max_prompt_tokens, budget.context - budget.max_completion_tokens) - fixed
        room = max(room, (budget.longest_prompt - fixed) // 2)
        if room < LEAST_CHUNK_TOKENS:
            shown = " and context_characters" if context_characters else ""
            raise ContextOverflowError(
                f"instructions and examples{shown} take {fixed:,} of the {budget.longest_prompt:,} tokens "
                "that a prompt may have, too many to leave room for a text; shorten them, raise "
                "max_prompt_tokens or context_tokens, or serve the model with a longer context",
                estimated_tokens=fixed + LEAST_CHUNK_TOKENS,
                limit_tokens=budget.longest_prompt,
            )
        return room

    async def answer_tokens(self, messages: Sequence[Message]) -> int:
        """Return how long the answer to a conversation may be.

        The tokens of one that surely fits are not counted: there are never more of them than bytes.

        Raises:
            ContextOverflowError: It does not fit.
            BackendError: The tokens cannot be counted.
        """
        own = messages[self._constant :]
        at_most = self._fixed_tokens + sum(len(one.content.encode()) + TURN_TOKENS for one in own)
        budget = self._budget
        if at_most <= min(budget.max_prompt_tokens, budget.context - budget.max_completion_tokens):
            return budget.max_completion_tokens
        return budget.completion_budget(await self._counter.count_messages(messages))
