"""What the bench of ACE learns from: rows, and a made-up model that answers about them in all roles.

    worst        never right, never the same answer or lesson twice: every round of every row is used up
    all-correct  right at first, and told so
    mixture      60 % of the rules are unknown until a lesson says them; every tenth row stays wrong

A reviewer of a right answer has something to say, too, so that the Curator is asked about every row.
"""

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, get_args

from bench.ace_model import BLOCK, BULLET, MadeUpLearner, Rule
from tasks.ace.prompts import CURATOR, GENERATOR, REFLECTOR
from tasks.ace.values import AceTask, Question, Row, Score

Kind = Literal["worst", "all-correct", "mixture"]
KINDS: tuple[Kind, ...] = get_args(Kind)

UNKNOWN = 0.6
"""Of the rules of a mixture."""
ROWS_A_RULE = 2
STUBBORN_EVERY = 10
MOST_BULLETS = 20
"""In the worst case: a Curator adds no more then, so that late prompts are as long as those that slow ways
are timed on."""
MAX_EDITS = 16
"""Operations of one Curator, as its schema has it by default."""

LETTERS = str.maketrans("0123456789", "ghijklmnop")
"""A name of letters alone is one word."""

PRAISE = "What was done here is right and can be done again."
WRONG = "I do not know."


@dataclass(frozen=True)
class Same:
    """A checker: the same text."""

    def check(self, answer: str, target: str) -> Score:
        """Compare."""
        return Score(right=int(answer == target))

    def normal(self, answer: str) -> str:
        """Return the answer as it is."""
        return answer


def _read(row: Mapping[str, object], row_id: str) -> Row:
    return Row(question=Question(id=row_id, text=str(row["question"])), target=str(row["answer"]))


TASK = AceTask(name="made up", read=_read, checker=Same())


@dataclass(frozen=True, kw_only=True)
class World:
    """Rows, and who answers about them.

    Args:
        kind: How that goes.
        rows: What is learnt from.
        learner: Answers in all roles, where the kind does not say otherwise.
    """

    kind: Kind
    rows: tuple[Row, ...]
    learner: MadeUpLearner

    def write(self, prompt: str) -> str:
        """Answer the text of a prompt."""
        return _written(self, prompt)

    def __hash__(self) -> int:
        """Stand for itself; rules and questions have no hash."""
        return id(self)

    def write_anew(self, prompt: str) -> str:
        """Answer without looking for what was answered before."""
        if self.kind == "worst":
            return json.dumps(_worst(prompt))
        if GENERATOR in prompt and self._is_stubborn(prompt):
            return json.dumps({"reasoning": "I apply what I know.", "bullet_ids": [], "final_answer": WRONG})
        said = json.loads(self.learner.write(prompt))
        if REFLECTOR in prompt:
            said["key_insight"] = said["key_insight"] or PRAISE
        return json.dumps(said)

    def _is_stubborn(self, prompt: str) -> bool:
        text = _blocks("question", prompt)[-1]
        number = int(text.removeprefix("What is case ").split(" ")[0])
        return self.kind == "mixture" and number % STUBBORN_EVERY == STUBBORN_EVERY - 1


@lru_cache(maxsize=128)  # a server looks twice: how long an answer is, and what it says
def _written(world: World, prompt: str) -> str:
    return world.write_anew(prompt)


def world(kind: Kind, count: int) -> World:
    """Make a world of so many rows, with a rule for every two of them."""
    rules = max(1, count // ROWS_A_RULE)
    known = rules if kind == "all-correct" else round((1 - UNKNOWN) * rules)
    rows = tuple(
        Row(
            question=Question(id=f"r{number}", text=f"What is case {number} of topic {number % rules}?"),
            target=f"answer {number}",
        )
        for number in range(count)
    )
    return World(
        kind=kind,
        rows=rows,
        learner=MadeUpLearner(
            rules={
                # 7 has no divisor in common with usual numbers of rules: the known ones are spread out.
                f"topic {number}": Rule(
                    lesson=f"In topic {number} the number of the case is what is asked for.",
                    known=number * 7 % rules < known,
                )
                for number in range(rules)
            },
            questions={
                row.question.text: (f"topic {place % rules}", row.target or "")
                for place, row in enumerate(rows)
            },
        ),
    )


def _worst(prompt: str) -> dict[str, object]:
    """Say something new, whatever is asked."""
    name = hashlib.sha256(prompt.encode()).hexdigest()[:12].translate(LETTERS)
    bullets = [one for block in _blocks("playbook", prompt) for one, _ in BULLET.findall(block)]
    cited = bullets[-2:]
    if GENERATOR in prompt:
        return {"reasoning": "I try.", "bullet_ids": cited, "final_answer": f"perhaps {name}"}
    if REFLECTOR in prompt:
        tags = [{"id": one, "tag": "helpful"} for one in cited]
        return {
            "reasoning": "I compare.",
            "key_insight": f"Look at {name} first.",
            "bullet_tags": tags,
        }
    if CURATOR not in prompt:
        raise ValueError(f"this is no prompt of a role: {prompt[:200]!r}")
    room = min(MAX_EDITS, max(0, MOST_BULLETS - len(bullets)))
    lessons = [one.removeprefix("insight: ") for one in _blocks("reflection", prompt)]
    return {
        "reasoning": "I add all.",
        "operations": [{"type": "ADD", "section": "OTHERS", "content": one} for one in lessons[:room]],
    }


def _blocks(mark: str, prompt: str) -> list[str]:
    return re.findall(BLOCK.format(mark), prompt, re.DOTALL)
