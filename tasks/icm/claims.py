"""Claims: read from a file, checked record by record, and drawn for one search."""

import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

from tasks.icm.testbeds import TRUTHFULQA, Testbed

LABEL_TEXTS = ("False", "True")
"""What a label is called in a prompt; a label is the index here."""


class DataError(ValueError):
    """A data set cannot be used; the message names file, line and field."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Claim:
    """One statement that is true or false."""

    id: int
    """Position in its file, from 0."""
    question: str
    choice: str
    """The claim itself."""
    group: int | str
    """The file's `consistency_id`: claims about one question share it."""
    gold: int | None
    """The label in the file, 0 or 1; used for reporting only, unless consistency is "reference"."""
    answer: str | None = None
    """The answer to the question that this claim asserts; of a preference "A>B" or "B>A"."""
    text: str | None = None
    """What the model reads, up to the label; None: as the reference has it for TruthfulQA."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Draw:
    """The claims of one search; a claim's position here is its `uid`."""

    claims: tuple[Claim, ...]
    seed_labels: Mapping[int, int]
    """{uid: label} of the first claims: random, and exactly as many true as false."""


def load_claims(path: Path, testbed: Testbed = TRUTHFULQA) -> list[Claim]:
    """Read claims from a JSON list or a JSONL file.

    Every record has the fields that the testbed shows, those of TruthfulQA being `question` and `choice`, and
    `consistency_id`, usually `label` (0, 1, true or false), and may have `answer`.

    Raises:
        DataError: The file is missing or malformed.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # some editors put a byte order mark first
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the data set {path} cannot be read: {error}; give the path of a JSON file"
        ) from error
    claims: list[Claim] = []
    for number, (line, record) in enumerate(_records(path, text)):
        try:
            claims.append(_claim(number, record, testbed))
        except DataError as error:
            raise DataError(f"{path}, line {line()}: {error}") from None
    if not claims:
        raise DataError(f"the data set {path} is empty")
    return claims


def draw(claims: Sequence[Claim], *, size: int, num_seeds: int, group_size: int, seed: int) -> Draw:
    """Draw whole groups and their first labels, exactly as the reference's random stream does.

    Args:
        claims: A whole split.
        size: Claims to draw; `size // group_size` groups are drawn.
        num_seeds: How many of the first claims start with a label; even.
        group_size: Claims in each group.
        seed: Of the one stream that is the reference's own, `random.Random(seed)`.

    Raises:
        DataError: The groups are not of this size, there are too few, or the seeds are odd or too many.
    """
    return _draw(_groups(claims, group_size), size, num_seeds, group_size, seed)


def draw_batches(
    claims: Sequence[Claim], *, size: int, batches: int | None, num_seeds: int, group_size: int, seed: int
) -> list[Draw]:
    """Divide claims into batches of whole groups; no claim is in two, and the first is what `draw` gives.

    The groups that the first leaves are shuffled and divided. What is left at the end makes a smaller batch;
    where it has too few claims to start a search, it shares evenly with the batch before. So a batch is the
    same however many are asked for.

    Args:
        claims: A whole split.
        size: Claims of a batch; `size // group_size` groups.
        batches: How many; None: as many as it takes for every claim to be in one.
        num_seeds: How many of a batch's first claims start with a label; even.
        group_size: Claims in each group.
        seed: Of the run.

    Raises:
        DataError: As for `draw`; or there are not so many batches, or a rest that makes no batch.
    """
    groups = _groups(claims, group_size)
    first = _draw(groups, size, num_seeds, group_size, seed)
    taken = {claim.group for claim in first.claims}
    rest = [members for name, members in groups.items() if name not in taken]
    random.Random(f"{seed}/batches").shuffle(rest)
    at_least = -(-num_seeds // group_size)
    divided, left_over = _divided(rest, size // group_size, at_least=at_least)
    if batches is None and left_over:
        raise DataError(
            f"{left_over * group_size} claims are left over, too few for a batch that starts with "
            f"{num_seeds} labels; {_what_to_lower(len(groups), size // group_size, at_least, group_size)}"
        )
    if batches is not None and batches > 1 + len(divided):
        raise DataError(
            f"{batches} batches were asked for, and the data set has {1 + len(divided)} of {size} claims; "
            "lower batches or num_claims"
        )
    return [
        first,
        *(
            Draw(
                claims=tuple(claim for group in batch for claim in group),
                seed_labels=_seed_labels(random.Random(f"{seed}/seeds/{number}"), num_seeds),
            )
            for number, batch in enumerate(divided[: None if batches is None else batches - 1], start=1)
        ),
    ]


def batch_seed(seed: int, batch: int) -> int:
    """Return the seed of one batch's search; the first has the run's."""
    return random.Random(f"{seed}/batch/{batch}").getrandbits(32) if batch else seed


# --- dividing -------------------------------------------------------------------------------------------


Groups = Mapping[int | str, Sequence[Claim]]


def _groups(claims: Sequence[Claim], group_size: int) -> Groups:
    groups: dict[int | str, list[Claim]] = {}
    for claim in claims:
        groups.setdefault(claim.group, []).append(claim)
    for name, members in groups.items():
        if len(members) != group_size:
            raise DataError(
                f"group {name!r}, which begins with record {members[0].id + 1} of the file, has "
                f"{len(members)} claims; a search draws whole groups of {group_size} (parameter group_size)"
            )
    return groups


def _draw(groups: Groups, size: int, num_seeds: int, group_size: int, seed: int) -> Draw:
    if num_seeds % 2 or num_seeds > size:
        raise DataError(f"num_seeds is {num_seeds}; it must be even and at most num_claims, {size}")
    if size // group_size > len(groups):
        there = len(groups) * group_size
        raise DataError(f"{size} claims were asked for, and the data set has {there}; lower num_claims")
    rng = random.Random(seed)
    blocks = list(groups.values())
    drawn = [claim for block in rng.sample(range(len(blocks)), size // group_size) for claim in blocks[block]]
    return Draw(claims=tuple(drawn), seed_labels=_seed_labels(rng, num_seeds))


def _seed_labels(rng: random.Random, number: int) -> dict[int, int]:
    labels = [1] * (number // 2) + [0] * (number // 2)
    rng.shuffle(labels)
    return dict(enumerate(labels))


def _what_to_lower(groups: int, size: int, at_least: int, group_size: int) -> str:
    """Say which number leaves no group over; sizes are in groups."""
    for smaller in range(size - 1, at_least - 1, -1):
        if not _divided([()] * (groups - smaller), smaller, at_least=at_least)[1]:
            return f"lower num_claims to {smaller * group_size}, or num_seeds"
    return "lower num_seeds"


def _divided(
    groups: Sequence[Sequence[Claim]], size: int, *, at_least: int
) -> tuple[list[Sequence[Sequence[Claim]]], int]:
    """Return batches of groups, and how many groups are left over because they make none."""
    batches = [groups[start : start + size] for start in range(0, len(groups), size)]
    if not batches or len(batches[-1]) >= at_least:
        return batches, 0
    *whole, short = batches
    if whole and (len(whole[-1]) + len(short)) // 2 >= at_least:
        both = [*whole[-1], *short]
        middle = (len(both) + 1) // 2
        return [*whole[:-1], both[:middle], both[middle:]], 0
    return whole, len(short)


# --- reading --------------------------------------------------------------------------------------------


def _records(path: Path, text: str) -> list[tuple[Callable[[], int], object]]:
    """Return (line number when asked for, record) of a JSON list or of JSON lines."""
    if text.lstrip().startswith("["):
        records = cast("list[object]", _parsed(path, text, first_line=1))
        return [(partial(_line_in_list, text, number), record) for number, record in enumerate(records)]
    # Not splitlines(), which also splits at line separators that JSON allows within a text.
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    return [(partial(int, number), _parsed(path, line, first_line=number)) for number, line in lines]


def _parsed(path: Path, text: str, *, first_line: int) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise DataError(f"{path}, line {first_line + error.lineno - 1}: not JSON: {error.msg}") from error
    except (ValueError, RecursionError) as error:  # a number of thousands of digits, brackets without end
        raise DataError(f"{path}, line {first_line}: not readable as JSON: {error}") from error


def _line_in_list(text: str, number: int) -> int:
    """Find the line in which a record of a JSON list starts; for messages only, since it reads all again."""
    decoder = json.JSONDecoder()
    position = text.index("[") + 1
    for _ in range(number):
        _, position = decoder.raw_decode(text, _next(text, position))
    return text.count("\n", 0, _next(text, position)) + 1


def _next(text: str, position: int) -> int:
    """Skip what stands between the records of a list."""
    while text[position] in " \t\r\n,":
        position += 1
    return position


def _claim(number: int, record: object, testbed: Testbed) -> Claim:
    if not isinstance(record, dict):
        raise DataError(f"a record is a JSON object, not {type(record).__name__}")
    fields = cast("dict[str, object]", record)

    values = {name: _text(fields, (name, *testbed.aliases.get(name, ()))) for name in testbed.fields}
    group = fields.get("consistency_id")
    if isinstance(group, bool) or not isinstance(group, int | str):
        raise DataError(f"field 'consistency_id' must be a number or a text, not {group!r}")
    label = fields.get("label")
    if label is not None and label not in (0, 1):
        raise DataError(f"field 'label' must be 0, 1, true or false, not {label!r}")
    return Claim(
        id=number,
        question=values.get("question", next(iter(values.values()))),
        choice=values.get("choice", list(values.values())[-1]),
        group=group,
        gold=None if label is None else int(cast("int", label)),
        answer=_answer(fields, values, testbed),
        text=testbed.text(values),
    )


def _text(fields: Mapping[str, object], names: Sequence[str]) -> str:
    name = next((name for name in names if fields.get(name) is not None), names[0])
    value = fields.get(name)
    if not isinstance(value, str) or not value.strip():
        raise DataError(f"field {name!r} must be a text that is not empty, not {value!r}")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise DataError(f"field {name!r} holds half a surrogate pair: {value!a}") from None
    return value


def _answer(fields: Mapping[str, object], values: Mapping[str, str], testbed: Testbed) -> str | None:
    """Say what a claim asserts; two claims that prefer one of two responses each assert the contrary."""
    if testbed.responses:
        first, second = (values[name] for name in testbed.responses)
        if first == second:
            raise DataError(f"fields {testbed.responses[0]!r} and {testbed.responses[1]!r} are the same text")
        return "A>B" if first < second else "B>A"
    name = testbed.answer_field
    if name is None or fields.get(name) is None:
        return None
    return "" if fields[name] == "" else _text(fields, (name,))  # a solution may come to no answer
