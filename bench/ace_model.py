"""A made-up model for ACE: it knows some rules, and others only when a lesson in its prompt says them.

It plays all three roles from the text of a prompt alone, as any model would, and does not remember anything.
So what it answers right at the end is what the playbook taught it, and nothing else.
"""

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from backends.messages import Request, Response, prompt_text
from tasks.ace.prompts import CHECKER, CURATOR, GENERATOR, REFLECTOR, SHEET

BLOCK = r"<{0}>\n(.*?)\n</{0}>"
BULLET = re.compile(r"^\[([^\]]+)\] (.*)$", re.MULTILINE)
INSIGHT = re.compile(r"^insight: (.*)$", re.MULTILINE)
LABEL = re.compile(r"[Rr]ight answer is: (.*)")


@dataclass(frozen=True, kw_only=True, slots=True)
class Rule:
    """What a question is about."""

    lesson: str
    """The sentence that says it."""
    known: bool
    """The model has it from elsewhere."""
    section: str = "FORMULAS & CALCULATIONS"

    @property
    def poison(self) -> str:
        """A lesson that says the opposite."""
        return f"It is wrong that: {self.lesson}"


@dataclass(frozen=True, kw_only=True)
class MadeUpLearner:
    """Answers prompts of ACE; a Script for a Scripted backend, and a writer for a made-up server.

    Args:
        rules: By name.
        questions: {text of a question: (name of its rule, the right answer)}
        poison: Every so many reviews, on average, one is harmful; 0: none.
        seed: Of which ones.
    """

    rules: Mapping[str, Rule]
    questions: Mapping[str, tuple[str, str]]
    poison: int = 0
    seed: int = 0

    def __call__(self, request: Request) -> Response:
        """Answer a request."""
        return Response(text=self.write(prompt_text(request)), finish_reason="stop")

    def write(self, prompt: str) -> str:
        """Answer the text of a prompt."""
        roles = {
            GENERATOR: self._generate,
            REFLECTOR: self._reflect,
            CURATOR: self._curate,
            CHECKER: self._check,
            SHEET: self._write_sheet,
        }
        [play] = [play for instructions, play in roles.items() if instructions in prompt]
        return json.dumps(play(prompt))

    def _generate(self, prompt: str) -> dict[str, object]:
        rule, answer = self._asked(prompt)
        reviews = _blocks("reflection", prompt)
        knows, cited = rule.known, list[str]()
        if reviews:
            knows = rule.lesson in reviews[-1] and rule.poison not in reviews[-1]
        elif shown := [(name, text) for name, text in _bullets(prompt) if rule.lesson in text]:
            cited, knows = [shown[0][0]], shown[0][1] != rule.poison
        elif rule.lesson in prompt:  # in a cheat-sheet
            knows = True
        return {
            "reasoning": "I apply what I know.",
            "bullet_ids": cited,
            "final_answer": answer if knows else f"perhaps {_dice(prompt):x}",
        }

    def _reflect(self, prompt: str) -> dict[str, object]:
        rule, answer = self._asked(prompt)
        is_right = _blocks("answer", prompt)[-1] == answer
        is_poisoned = bool(self.poison) and _dice(f"{self.seed}{prompt}") % self.poison == 0
        lesson = rule.poison if is_poisoned else "" if is_right else rule.lesson
        good, bad = ("harmful", "helpful") if is_poisoned else ("helpful", "harmful")
        tags = [{"id": name, "tag": bad if text == rule.poison else good} for name, text in _bullets(prompt)]
        return {"reasoning": "I compare.", "key_insight": lesson, "bullet_tags": tags}

    def _curate(self, prompt: str) -> dict[str, object]:
        there = {text for _, text in _bullets(prompt)}
        operations: list[dict[str, str]] = []
        for question, review in zip(_blocks("question", prompt), _blocks("reflection", prompt), strict=True):
            lesson = "".join(INSIGHT.findall(review)[-1:])
            if lesson and lesson not in there:
                section = self.rules[self.questions[question][0]].section
                operations.append({"type": "ADD", "section": section, "content": lesson})
                there.add(lesson)
        return {"reasoning": "I add what is new.", "operations": operations}

    def _check(self, prompt: str) -> dict[str, object]:
        _, answer = self._asked(prompt)
        return {"reasoning": "I did it again.", "is_right": _blocks("answer", prompt)[-1] == answer}

    def _write_sheet(self, prompt: str) -> dict[str, object]:
        """Keep the sheet, add what was wrong, and collapse when it is long, as rewriting does."""
        lines = [line for line in _blocks("cheat_sheet", prompt)[0].split("\n") if line != "(empty)"]
        for question in _blocks("question", prompt):
            rule = self.rules[self.questions[question][0]]
            if not rule.known and rule.lesson not in lines:
                lines.append(rule.lesson)
        return {"cheat_sheet": "\n".join(lines) or "Be careful."}

    def _asked(self, prompt: str) -> tuple[Rule, str]:
        name, answer = self.questions[_blocks("question", prompt)[-1]]
        return self.rules[name], answer


def _blocks(mark: str, prompt: str) -> Sequence[str]:
    return re.findall(BLOCK.format(mark), prompt, re.DOTALL)


def _bullets(prompt: str) -> Sequence[tuple[str, str]]:
    return [pair for block in _blocks("playbook", prompt) for pair in BULLET.findall(block)]


def _dice(text: str) -> int:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
