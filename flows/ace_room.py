"""How many tokens a playbook may have: what the contexts of all who are shown it leave."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from backends.messages import Message
from backends.registry import parse_model
from flows.ace_models import Roles
from flows.ace_parameters import AceBase
from flows.model_serving import Serving, serving_of
from flows.run import Run
from flows.settings import SettingsError
from tasks.ace.answers import Reflected
from tasks.ace.bullets import Bullet, Counts
from tasks.ace.playbook import Playbook
from tasks.ace.prompts import MAX_QUOTED, curator_messages, generator_messages
from tasks.ace.rendering import in_tags
from tasks.ace.roles import Role
from tasks.ace.values import AceTask, Question
from tasks.tokens.counting import TokenCounter

REVIEW_TOKENS = 800
"""What a review adds to a question: four texts of at most 600 characters, where a schema bounds them."""
UNBOUNDED_REVIEW_TOKENS = MAX_QUOTED // 3
"""Where nothing bounds it but what is quoted of it."""

COUNTED = 8
"""Questions of which the tokens are counted to find the longest."""

MANY = 99_999
"""A count whose digits are as many as there will be."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TokenRoom:
    """Tokens that there are; None: no context that is known bounds them."""

    playbook: int
    """Of the playbook as it is shown."""
    curated: int | None = None
    """Of it and of the counts of its bullets, which a Curator is shown beside it."""
    counts: int = 0
    """Of all these counts at most; a longer list of them loses its middle."""
    instead: int | None = None
    """Of what the Generator is shown in place of a playbook."""


def nearly_full(total: int, of: int) -> str:
    """Return what a Curator is told."""
    return f"The playbook has {total:,} of at most {of:,} tokens: prefer UPDATE, MERGE and REMOVE to ADD."


async def find_room(
    parameters: AceBase,
    counter: TokenCounter,
    roles: Roles,
    contexts: Mapping[str, int],
    task: AceTask,
    questions: Sequence[Question],
    start: Playbook,
) -> TokenRoom:
    """Find out how much room a playbook has.

    Args:
        parameters: Of the run.
        counter: Counts the tokens of the run's model; those of other models are taken to be as many.
        roles: Who is shown the playbook: the Generator, and the Curator.
        contexts: {model: tokens of its context}, of those where it is known.
        task: What is asked.
        questions: All that will be asked.
        start: The playbook to begin with, whose sections are those of all later ones.

    Raises:
        SettingsError: A context holds no question with a playbook, or no review with one.
    """
    longest = await longest_of(counter, task, questions)
    what = f"the longest question (row {longest.id})"
    review = _review_tokens(parameters, roles.reflector)
    asked = generator_messages(task, in_tags(""), longest)
    reviewed = [(longest, Reflected(key_insight=""))]
    told = nearly_full(parameters.playbook_tokens, parameters.playbook_tokens)
    curated = curator_messages(task, in_tags(""), _with_full_sections(start), reviewed, room=told)
    again = await _left(counter, roles.generator, contexts, asked, review, what)
    curating = await _left(counter, roles.curator, contexts, curated, review, f"{what} with its review")
    known = [one for one in (again, curating) if one is not None]
    return TokenRoom(
        playbook=min([parameters.playbook_tokens, *known]),
        curated=curating,
        counts=await counter.count_text(_longest_counts()),
        instead=None if again is None else again + review,
    )


async def longest_of(counter: TokenCounter, task: AceTask, questions: Sequence[Question]) -> Question:
    """Return the question with the most tokens, counting those that may be it.

    A token has some four letters of English, and a digit, a sign or a byte of another script may be one.
    """

    def likely_tokens(one: Question) -> float:
        text = one.context + one.text
        letters = sum(each.isascii() and (each.isalpha() or each == " ") for each in text)
        return letters / 4 + len(text.encode()) - letters

    likely = sorted(questions, key=likely_tokens, reverse=True)[:COUNTED]
    tokens = [await counter.count_messages(generator_messages(task, "", one)) for one in likely]
    return max(zip(tokens, likely, strict=True), key=lambda pair: pair[0])[1]


async def contexts_of(parameters: AceBase, run: Run, serving: Serving | None) -> dict[str, int]:
    """Return {model: tokens of its context} of the run's model and of the others of its server.

    An adapter of which the server does not say it has the context of the run's model.

    Raises:
        BackendError: The server is not there, and was not asked before.
    """
    named = map(parse_model, parameters.other_models)
    others = [one.name for one in named if one.provider == parameters.provider]
    own = serving.max_model_len if serving else None
    found = {run.model: own}
    for name in others:
        other = await serving_of(replace(run, model=name, revision=""))
        found[name] = other.max_model_len if other and other.max_model_len else own
    return {name: context for name, context in found.items() if context is not None}


async def _left(
    counter: TokenCounter,
    role: Role,
    contexts: Mapping[str, int],
    messages: Sequence[Message],
    review: int,
    what: str,
) -> int | None:
    """Return what the shortest context of a role's tiers leaves beside a prompt, a review and an answer.

    Raises:
        SettingsError: It leaves nothing.
    """
    bounded = [tier for tier in role.tiers if tier.model in contexts]
    if not bounded:
        return None
    fixed = await counter.count_messages(messages)
    tier = min(bounded, key=lambda one: contexts[one.model] - one.sampling.max_tokens)
    context, answer = contexts[tier.model], tier.sampling.max_tokens
    left = context - fixed - answer - review
    if left <= 0:
        raise SettingsError(
            f"the context of {tier.model!r} has {context:,} tokens, of which {what} takes {fixed:,} for "
            f"the {role.name}, its answer up to {answer:,} and a review {review:,}: there is no room for a "
            "playbook; lower max_output_tokens, or serve the model with a longer context"
        )
    return left


def _review_tokens(parameters: AceBase, reflector: Role) -> int:
    """Return what a review has at most, which is part of a Reflector's answer."""
    most = REVIEW_TOKENS if parameters.structured_output else UNBOUNDED_REVIEW_TOKENS
    return min(most, max(tier.sampling.max_tokens for tier in reflector.tiers))


def _with_full_sections(playbook: Playbook) -> Playbook:
    """Return a playbook whose statistics are as long as those of any with the same sections."""
    sections = [
        replace(section, lines=(Bullet(id=f"misc-{number:05d}", text="x"),) if section.name else ())
        for number, section in enumerate(playbook.sections, start=1)
    ]
    ids = [bullet.id for section in sections for bullet in section.bullets]
    return Playbook(sections=tuple(sections), counts=dict.fromkeys(ids, Counts(helpful=MANY, harmful=MANY)))


def _longest_counts() -> str:
    return json.dumps({f"misc-{number:05d}": [10, 10] for number in range(MAX_QUOTED)})[:MAX_QUOTED]
