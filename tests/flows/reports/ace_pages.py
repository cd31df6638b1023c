"""ACE runs that nobody ran: real playbooks and real changes, made-up questions, lessons and counts."""

import random
from collections.abc import Sequence
from dataclasses import dataclass

from flows.reports.ace import AcePage, CostView, EvaluationView, MethodView, StepView
from flows.reports.calibration import CalibrationBin
from tasks.ace.bullets import Bullet, Counts
from tasks.ace.deltas import Change, apply, removal
from tasks.ace.playbook import DEFAULT_SECTIONS, Playbook, Section

SECTIONS = tuple(DEFAULT_SECTIONS)
VERBS = ("Check", "Write down", "Convert", "Compare", "Round", "Recompute", "Name", "Look up")
THINGS = (
    "the unit of every quantity",
    "the day count of the month",
    "the tariff band that the weight falls into",
    "the sign of the difference",
    "the number of decimals that the answer asks for",
    "leap years, which are divisible by 4 but not by 100 unless by 400",
    "the surcharge for parcels longer than 120 cm",
    "the exchange rate of the day that the question names",
)
REASONS = (
    "before anything is multiplied.",
    "since a wrong one is off by a factor of a thousand.",
    "and state it in the last line.",
    "even where the question seems to give it.",
    "because the tariff counts started kilograms, not whole ones.",
    "only after all additions: 12.345 kg is 12.35 kg, not 12.3 kg.",
)
QUESTIONS = (
    "How many metres are {n}.5 nautical miles? Answer with one decimal.",
    "Which day of the week is {n} days after 29 February 2024?",
    "A parcel of {n}.2 kg goes to zone 3 and is 130 cm long. What does it cost in euros?",
    "Convert {n} stone and 4 pounds to kilograms, to two decimals.",
)


@dataclass(frozen=True, kw_only=True, slots=True)
class MadeUp:
    """A report, and what its playbook really was before the first step and after each."""

    page: AcePage
    playbooks: Sequence[Playbook]


def started() -> Playbook:
    """Return a playbook with bullets that a user wrote, one of them without a number."""
    playbook, _ = apply(
        Playbook(),
        [
            {"type": "ADD", "section": "STRATEGIES & INSIGHTS", "content": "Read the question twice."},
            {"type": "ADD", "section": "COMMON MISTAKES TO AVOID", "content": "Do not answer in words."},
        ],
    )
    return playbook.tagged([("sai-00001", "helpful")])


def made_up_run(
    steps: int = 24,
    *,
    rows: int = 5,
    epochs: int = 2,
    adds: int = 2,
    votes: int = 4,
    seed: int = 0,
    start: Playbook | None = None,
) -> MadeUp:
    """Return a run whose playbook grows by some bullets a step, with all kinds of changes."""
    draw = random.Random(seed)
    playbook = start or started()
    playbooks, views = [playbook], list[StepView]()
    ids = [f"train-{number:04}" for number in range(max(1, steps * rows // epochs))]
    for number in range(1, steps + 1):
        mine = tuple(ids[(number * rows + place) % len(ids)] for place in range(rows))
        voted = tuple(
            (draw.choice([*playbook.bullets, "gone-99999"]), tag, row)
            for row in mine
            for tag in draw.choices(("helpful", "harmful", "neutral"), (7, 2, 1), k=votes)
        )
        playbook = playbook.tagged([vote[:2] for vote in voted], step=number)
        playbook, changes = apply(playbook, _operations(draw, playbook, adds), step=number)
        worst = min(playbook.counts, key=lambda one: playbook.counts[one].net)
        if number % 7 == 0:
            changes.append(removal(playbook, worst, by="harmful"))
            playbook = playbook.remove([worst])
        first = sum(draw.random() < 0.4 + 0.5 * number / steps for _ in mine)
        views.append(
            StepView(
                number=number,
                epoch=1 + (number - 1) * epochs // steps,
                rows=mine,
                correct_first=first,
                correct_last=min(rows, first + draw.randrange(2)),
                tokens=sum(len(one.text) // 4 + 8 for one in playbook.bullets.values()),
                changes=tuple(changes),
                votes=voted,
            )
        )
        playbooks.append(playbook)
    texts = {row: draw.choice(QUESTIONS).format(n=place) for place, row in enumerate(ids)}
    page = AcePage(
        title="ACE on made-up tariffs",
        headline="Playbook learnt from 60 questions by a model that nobody ran",
        warnings=["3 rows were left out: nobody answered their Reflector."],
        facts=[("model", "made-up/model-8b"), ("batch", f"{rows} rows"), ("seed", str(seed))],
        start=playbooks[0],
        steps=views,
        evaluations=_evaluations(steps),
        methods=_methods(),
        costs=_costs(),
        stops={"first correct answer": 61, "repeated answer": 17, "no new lesson": 9, "all rounds": 12},
        best_step=max(0, steps - 3),
        questions=texts,
    )
    return MadeUp(page=page, playbooks=playbooks)


def _operations(draw: random.Random, playbook: Playbook, adds: int) -> list[object]:
    ids = list(playbook.bullets)
    made: list[object] = [
        {"type": "ADD", "section": draw.choice(SECTIONS), "content": _lesson(draw)} for _ in range(adds)
    ]
    one = draw.choice(ids)
    changed = playbook.bullets[one].text.rstrip(".") + f", {draw.choice(REASONS)}"
    others: list[object] = [
        {"type": "UPDATE", "id": one, "content": changed},
        {"type": "MERGE", "ids": draw.sample(ids, min(len(ids), 2)), "content": _lesson(draw)},
        {"type": "REMOVE", "id": draw.choice(ids)},
        {"type": "UPDATE", "id": "calc-77777", "content": "Of a bullet that is not there."},
        {"type": "REWRITE", "content": "All of it anew."},
        {"type": "ADD", "section": SECTIONS[0], "content": "Read the question twice."},
        "no object",
    ]
    return [*made, *draw.choices(others, (4, 2, 1, 1, 1, 1, 1), k=2)]


def _lesson(draw: random.Random) -> str:
    number = draw.randrange(1000)
    return f"{draw.choice(VERBS)} {draw.choice(THINGS)} (case {number}) {draw.choice(REASONS)}"


def interval(right: int, total: int) -> tuple[float, float]:
    return CalibrationBin(start=0, end=1, count=total, right=right, confidence=0).interval


def evaluation(step: int, split: str, name: str, right: int, total: int) -> EvaluationView:
    low, high = interval(right, total)
    return EvaluationView(
        step=step,
        split="test" if split == "test" else "window" if split == "window" else "validation",
        name=name,
        right=right,
        total=total,
        low=low,
        high=high,
        parsed=total - 1,
    )


def _evaluations(steps: int) -> list[EvaluationView]:
    validated = [
        evaluation(step, "validation", "validation", min(39, 17 + 22 * step // max(1, steps)), 40)
        for step in sorted({0, *range(0, steps, max(1, steps // 6)), steps})
    ]
    best = max(0, steps - 3)
    return [
        *validated,
        evaluation(0, "test", "no playbook", 25, 60),
        evaluation(best, "test", "best", 54, 60),
    ]


def _methods() -> list[MethodView]:
    told = (
        ("no playbook", "the question alone", 25, 60, 21_000),
        ("in-context examples", "5 train rows with their answers", 31, 360, 48_500),
        ("rewriting cheat-sheet", "one sheet, written anew after each row", 38, 240, 610_300),
        ("ACE, best playbook", "the playbook after the best step", 54, 660, 1_204_000),
    )
    found: list[MethodView] = []
    for name, note, right, calls, tokens in told:
        low, high = interval(right, 60)
        found.append(
            MethodView(
                name=name, note=note, right=right, total=60, low=low, high=high,
                calls=calls, input_tokens=tokens, output_tokens=tokens // 9,
            )
        )  # fmt: skip
    return found


def _costs() -> list[CostView]:
    told = (
        ("generator", 0, "made-up/model-1b", 420, 300, 300_100, 0, 0),
        ("generator", 1, "made-up/model-8b", 131, 131, 122_400, 131, 88),
        ("reflector", 0, "made-up/model-8b", 199, 199, 240_000, 0, 0),
        ("curator", 0, "made-up/model-8b", 48, 48, 90_200, 0, 0),
        ("evaluation", 0, "made-up/model-1b", 400, 280, 380_700, 0, 0),
    )
    return [
        CostView(
            role=role, tier=tier, model=model, calls=calls, sent=sent,
            input_tokens=tokens, output_tokens=tokens // 11, took_over=took_over,
            rescued=gained, gained=gained // 2, lost=gained // 4,
        )
        for role, tier, model, calls, sent, tokens, took_over, gained in told
    ]  # fmt: skip


def hostile_run(evil: str) -> MadeUp:
    """Return a run in which every text that a model, a user or a file may have written is `evil`.

    Texts of bullets come from a file that was read as it is: `apply` would have made them plain.
    """
    start = _hostile_start(evil)
    page = AcePage(
        title=evil,
        headline=evil,
        warnings=[evil],
        facts=[(evil, evil)],
        start=start,
        steps=[_hostile_step(evil, start.sections[0].name)],
        evaluations=[evaluation(1, "test", evil, 1, 2)],
        methods=[_hostile_method(evil)],
        costs=[_hostile_cost(evil)],
        stops={evil: 1},
        best_step=1,
        questions={evil: evil},
    )
    return MadeUp(page=page, playbooks=[start, _hostile_end(evil)])


def _hostile_start(evil: str) -> Playbook:
    bullets = (Bullet(id=evil, text=evil), Bullet(id="misc-00001", text=evil + "!"))
    return Playbook(
        sections=(Section(heading=f"## {evil}", lines=bullets),),
        counts={bullet.id: Counts() for bullet in bullets},
        next_number=2,
    )


def _hostile_step(evil: str, section: str) -> StepView:
    changes = (
        Change(type="ADD", bullet_id="x-00002", text=evil, section=section),
        Change(type=evil, bullet_id=evil, text=evil, section=evil, refused=evil, by=evil),
        Change(
            type="MERGE", bullet_id="misc-00001", text=evil + "?", section=section, by=evil,
            replaced=((evil, evil), ("misc-00001", evil + "!")),
        ),
    )  # fmt: skip
    return StepView(
        number=1, epoch=1, rows=(evil,), correct_first=0, correct_last=1, tokens=9,
        changes=changes, votes=((evil, "helpful", evil),),
    )  # fmt: skip


def _hostile_end(evil: str) -> Playbook:
    bullets = (Bullet(id="misc-00001", text=evil + "?"), Bullet(id="x-00002", text=evil))
    return Playbook(
        sections=(Section(heading=f"## {evil}", lines=bullets),),
        counts={"misc-00001": Counts(helpful=1, used=1), "x-00002": Counts(born=1, used=1)},
        next_number=3,
    )


def _hostile_method(evil: str) -> MethodView:
    return MethodView(
        name=evil, note=evil, right=1, total=2, low=0.1, high=0.9, calls=1, input_tokens=1, output_tokens=1
    )


def _hostile_cost(evil: str) -> CostView:
    return CostView(
        role=evil, tier=0, model=evil, calls=1, sent=1, input_tokens=1, output_tokens=1,
        took_over=0, rescued=0, gained=0, lost=0,
    )  # fmt: skip
