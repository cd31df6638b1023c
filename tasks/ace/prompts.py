"""What the roles are asked: the playbook first, then what a role is to do, then what is new.

So all questions that are put with one playbook begin alike, as do those before and after a bullet was added,
as far as the playbook goes; a server's prefix cache computes that once. The Curator alone is shown counts,
behind the playbook. What comes from rows and from models is quoted between marks that it cannot write itself.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict

from backends.messages import Message
from tasks.ace.answers import Generated, Reflected
from tasks.ace.markup import tamed
from tasks.ace.playbook import Playbook
from tasks.ace.rendering import in_tags
from tasks.ace.values import AceTask, Feedback, Question
from tasks.ace.votes import statistics

MAX_QUOTED = 6_000
"""Characters of a model's own words that another role is shown."""

GENERATOR = (
    "You answer questions. Above is a playbook of lessons that were learnt from earlier ones: use those that "
    'fit, and leave the others. Answer with a JSON object: "reasoning" (your steps, short), "bullet_ids" '
    '(ids of the lessons that you used; none is a good answer), "final_answer" (the answer and nothing else).'
)

REFLECTOR = (
    "You review an answer that another model gave, so that the next question of its kind is answered better. "
    'Answer with a JSON object: "reasoning", "error_identification" (what exactly is wrong; empty if nothing '
    'is), "root_cause_analysis" (why it went wrong), "correct_approach" (what should be done in its place), '
    '"key_insight" (one sentence to remember that holds for other questions too: the rule, the formula, the '
    'number that is needed; not the answer to this very question), "bullet_tags" (for each lesson shown: '
    "helpful, harmful or neutral to this answer)."
)

CURATOR = (
    "You keep the playbook above. Below are reviews of answers that were given with it. Decide which small "
    'edits make it better. Answer with a JSON object: "reasoning", and "operations", a list of '
    '{"type": "ADD", "section": name, "content": lesson}, {"type": "UPDATE", "id": id, "content": lesson}, '
    '{"type": "MERGE", "ids": [ids that say the same], "content": lesson}, {"type": "REMOVE", "id": id}. A '
    "lesson is one or two sentences that can be used without knowing where they come from. Add only what the "
    "playbook does not say yet; remove what proved harmful; an empty list is a good answer."
)

CHECKER = (
    "You check an answer without knowing the right one: do the work again, and compare. Answer with a JSON "
    'object: "reasoning", "is_right" (true or false).'
)

SHEET = (
    "You keep a cheat-sheet that helps to answer questions of this kind. Below are the sheet, questions, "
    "answers that were given with it, and what was said of them. Write the whole sheet anew: keep what is of "
    'use, add what was learnt. Answer with a JSON object: "cheat_sheet" (the text of the new sheet).'
)


def generator_messages(
    task: AceTask, shown: str, question: Question, *, review: Reflected | None = None
) -> tuple[Message, ...]:
    """Ask a question with a playbook.

    Args:
        task: Says what answers look like.
        shown: The playbook as it is shown (`in_tags`), or examples, or a cheat-sheet.
        question: The question.
        review: What a Reflector said of an earlier answer to it.
    """
    parts = [question_text(question)]
    if review:
        parts.append(f"An earlier attempt failed. What a review says of it:\n{reflection_text(review)}")
    return (_system(shown, GENERATOR, task.instructions), _user(parts))


def reflector_messages(
    task: AceTask, excerpt: str, question: Question, answer: Generated, feedback: Feedback
) -> tuple[Message, ...]:
    """Ask for a review of an answer; `excerpt` has the lessons that the answer cites."""
    told = feedback.text or ("The answer was accepted." if feedback.is_ok else "The answer was rejected.")
    parts = [
        question_text(question),
        quoted("reasoning", answer.reasoning),
        quoted("answer", answer.final_answer or "(no answer that can be read)"),
        quoted("feedback", told),
        f"The lessons that it used:\n{in_tags(excerpt)}",
    ]
    return (_system("", REFLECTOR, task.instructions), _user(parts))


def curator_messages(
    task: AceTask,
    shown: str,
    playbook: Playbook,
    reviews: Iterable[tuple[Question, Reflected]],
    *,
    room: str = "",
) -> tuple[Message, ...]:
    """Ask for edits of a playbook, after some reviews.

    Args:
        task: Says what answers look like.
        shown: The playbook as it is shown.
        playbook: Its counts and sections.
        reviews: Of answers that were given with it.
        room: What to say of how full the playbook is, if anything.
    """
    counts = {
        name: [one.helpful, one.harmful]
        for name, one in playbook.counts.items()
        if one.helpful or one.harmful
    }
    parts = [
        f"Sections: {', '.join(playbook.section_choices)}.",
        quoted("counts", f"[helpful, harmful] of lessons with votes: {json.dumps(counts)}"),
        f"Statistics: {tamed(json.dumps(asdict(statistics(playbook))))}",
        *([room] if room else []),
        *(f"{question_text(question)}\n{reflection_text(one)}" for question, one in reviews),
    ]
    return (_system(shown, CURATOR, task.instructions), _user(parts))


def check_messages(task: AceTask, question: Question, answer: str) -> tuple[Message, ...]:
    """Ask a model whether an answer is right."""
    parts = [question_text(question), quoted("answer", answer)]
    return (_system("", CHECKER, task.instructions), _user(parts))


def sheet_messages(
    task: AceTask, sheet: str, attempts: Sequence[tuple[Question, Generated, Feedback]], *, characters: int
) -> tuple[Message, ...]:
    """Ask for a cheat-sheet to be written anew."""
    parts = [
        quoted("cheat_sheet", sheet or "(empty)", most=characters),
        f"The sheet may have {characters:,} characters.",
        *(
            "\n".join(
                [
                    question_text(question),
                    quoted("answer", answer.final_answer or "(none)"),
                    quoted("feedback", feedback.text or ("accepted" if feedback.is_ok else "rejected")),
                ]
            )
            for question, answer, feedback in attempts
        ),
    ]
    return (_system("", SHEET, task.instructions), _user(parts))


def examples_text(examples: Iterable[tuple[Question, str]]) -> str:
    """Return questions with their answers, to be shown in place of a playbook."""
    shown = (f"{question_text(question)}\n{quoted('answer', answer)}" for question, answer in examples)
    return "<examples>\n" + "\n\n".join(shown) + "\n</examples>"


def sheet_text(sheet: str) -> str:
    """Return a cheat-sheet, to be shown in place of a playbook."""
    return quoted("cheat_sheet", sheet or "(empty)", most=len(sheet) + 1)


def question_text(question: Question) -> str:
    """Return a question as it is shown: what many have in common first."""
    context = quoted("context", question.context, most=len(question.context)) if question.context else ""
    return "\n".join(filter(None, [context, quoted("question", question.text, most=len(question.text))]))


def reflection_text(reflected: Reflected) -> str:
    """Return what a Reflector said, as the others are shown it."""
    said = {
        "error": reflected.error_identification,
        "cause": reflected.root_cause_analysis,
        "approach": reflected.correct_approach,
        "insight": reflected.key_insight,
    }
    return quoted("reflection", "\n".join(f"{name}: {text}" for name, text in said.items() if text))


def quoted(mark: str, text: str, *, most: int = MAX_QUOTED) -> str:
    """Return a text between marks that it cannot end itself; what is too long loses its middle."""
    if len(text) > most:
        text = f"{text[: most // 2]} [...] {text[-(most // 2) :]}"
    return f"<{mark}>\n{tamed(text)}\n</{mark}>"


def _system(shown: str, role: str, instructions: str) -> Message:
    return Message(role="system", content="\n\n".join(filter(None, [shown, role, instructions])))


def _user(parts: Iterable[str]) -> Message:
    return Message(role="user", content="\n\n".join(parts))
