"""What a kind of claims looks like: which fields a record has, and what the model reads of them.

The layouts are those of the reference implementation of ICM (Wen et al., arXiv 2506.10139), so that results
can be compared; another kind of claims is another Testbed.
"""

import string
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

ENDING = "I think this claim is "

Rule = Literal["gold", "answer", "preference"]
"""What the published consistency looks at: the gold label, the answer that a claim asserts, or which of two
responses a claim prefers."""


class Testbed(BaseModel):
    """A kind of claims."""

    __test__ = False  # not a test, whatever pytest thinks of the name

    model_config = ConfigDict(frozen=True, extra="forbid")

    template: str = Field(
        description="What the model reads of a claim, up to its label; {names} are fields of a record"
    )
    group_size: int = Field(default=4, ge=1, description="Claims with one consistency_id")
    rule: Rule = Field(default="gold", description="What consistency='reference' looks at")
    aliases: dict[str, tuple[str, ...]] = Field(
        default_factory=dict, description="Other names that a field may have, as {'choice': ['cot']}"
    )
    answer_field: str | None = Field(
        default="answer", description="What a claim asserts; for consistency='answer'"
    )
    responses: tuple[str, str] | None = Field(
        default=None, description="The two fields of which a claim prefers the first"
    )
    joins_lines: bool = Field(default=False, description="Delete line breaks within fields, as in Alpaca")

    @model_validator(mode="after")
    def _can_be_filled(self) -> Self:
        try:
            names = self.fields
        except ValueError as error:
            raise ValueError(f"template is no text with {{fields}}: {error}") from error
        if not names:
            raise ValueError("template names no field; write fields in braces, as {question}")
        if self.responses and (missing := set(self.responses) - set(names)):
            raise ValueError(f"responses names {min(missing)!r}, which the template does not show")
        return self

    @property
    def fields(self) -> tuple[str, ...]:
        """The fields that the template shows, in their order.

        Raises:
            ValueError: Braces that do not match, or hold more than a name.
        """
        parts = list(string.Formatter().parse(self.template))
        for _, name, form, conversion in parts:
            if name is not None and (not name.isidentifier() or form or conversion):
                raise ValueError(f"{{{name}}} is no name of a field")
        return tuple(dict.fromkeys(name for _, name, _, _ in parts if name))

    def text(self, values: dict[str, str]) -> str:
        """Write what the model reads of a claim, up to its label.

        Args:
            values: {field: text}, one for each of `fields`.
        """
        shown = {
            name: values[name].replace("\n", "") if self.joins_lines else values[name] for name in self.fields
        }
        return self.template.format_map(shown)


TRUTHFULQA = Testbed(template=f"Question: {{question}}\nClaim: {{choice}}\n{ENDING}")

TESTBEDS: dict[str, Testbed] = {
    "truthfulqa": TRUTHFULQA,
    "general_knowledge": TRUTHFULQA,
    "truthfulqa-preference": Testbed(
        template="Question: {question}\nAnswer 1: {choice}\nAnswer 2: {choice_2}\n"
        f"Claim: Answer 1 is more truthful than Answer 2\n{ENDING}",
        group_size=2,
        rule="preference",
        responses=("choice", "choice_2"),
    ),
    "gsm8k": Testbed(
        template=f"Question: {{question}}\nClaim: {{choice}}\n{ENDING}",
        rule="answer",
        aliases={"choice": ("cot",)},
    ),
    "alpaca": Testbed(
        template="Human: {question}\nResponse 1: {choice}\nResponse 2: {choice_2}\n"
        f"Claim: Response 1 is more helpful and harmless than Response 2\n{ENDING}",
        group_size=2,
        rule="preference",
        responses=("choice", "choice_2"),
        joins_lines=True,
    ),
}
"""{dataset: how its claims look}"""
