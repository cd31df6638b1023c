"""Whether the order of the demonstrations changes what a real model says, and whether a tree's does so more.

    VLLM_BASE_URL=http://127.0.0.1:8000 python -m bench.icm_order CLAIMS       (or `make bench-icm-order`)

The same labels are evaluated in the published order under random permutations of the uids, and in the tree's
under as many orders of its leaves; beside them in the published order as it is, twice, since a server that
computes in batches does not answer quite alike each time. Each has, by a cache salt, a part of the server's
prefix cache of its own. With `--store` answers are kept there, and a run that was cut off goes on.
"""

import argparse
import asyncio
import json
import os
import platform
import random
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from itertools import combinations, product
from math import sqrt
from pathlib import Path
from statistics import correlation, fmean, median, stdev, variance
from typing import Any

from backends.errors import BackendError
from backends.vllm_server import VLLMServer
from bench.icm_live import SEED, SaltedAsk, prompter_of
from bench.permutation_test import exact_p
from cache.disk_store import DiskStore
from cache.lookup import CacheMode, Lookup
from flows.settings import Settings, load_settings
from tasks.ask import Ask
from tasks.generate import Generator
from tasks.icm import scoring
from tasks.icm.claims import Draw, draw, load_claims
from tasks.icm.orders import ContextOrder, ReferenceOrder, TreeOrder
from tasks.icm.prompts import Prompter

RESULT = Path(__file__).parent / "results" / "icm_order.json"
ALPHA = 50.0

Labels = Mapping[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Arrangement:
    """One way to show the claims: who has which uid, and in which order the uids are shown."""

    kind: str
    uids: Sequence[int]
    """The claim, by its uid in the draw, that has the uid of this place."""
    order: ContextOrder


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What the model says of every claim in one arrangement, by the uids of the draw."""

    scores: Mapping[int, float]
    """{uid: log-odds of True given all other labels, in nats}"""
    last_is_true: Mapping[int, bool]
    """{uid: whether the demonstration right before it is labelled true}"""

    @property
    def proposed(self) -> str:
        """The label that each claim would be given, as a text of 0 and 1."""
        return "".join(str(scoring.proposed_label(self.scores[uid])) for uid in sorted(self.scores))

    @property
    def mean_score(self) -> float:
        """How far the model leans to True, in nats."""
        return fmean(self.scores.values())

    def energy(self, assigned: Labels) -> float:
        """Return the energy of the labels, without consistency."""
        return scoring.energy(scoring.mutual_predictability(assigned, self.scores), 0, alpha=ALPHA)


def arrangements(size: int, number: int) -> list[Arrangement]:
    """Return the published order twice, `number` permutations of the uids, and as many trees."""
    unchanged = range(size)
    published = [
        Arrangement(kind=kind, uids=unchanged, order=ReferenceOrder()) for kind in ("published", "again")
    ]
    permuted = [
        Arrangement(
            kind="reference",
            uids=random.Random(f"{SEED}/uids/{one}").sample(unchanged, size),
            order=ReferenceOrder(),
        )
        for one in range(number)
    ]
    trees = [Arrangement(kind="tree", uids=unchanged, order=TreeOrder(size, seed)) for seed in range(number)]
    return [*published, *permuted, *trees]


def states(drawn: Draw) -> dict[str, Labels]:
    """Return labels to evaluate: {name: {uid: label}}."""
    size = len(drawn.claims)
    gold = {uid: claim.gold or 0 for uid, claim in enumerate(drawn.claims)}
    balanced = random.Random(f"{SEED}/labels").sample([0, 1] * (size // 2), size)
    half = random.Random(f"{SEED}/half").sample(range(size), size // 2)
    return {
        "gold": gold,
        "random": dict(enumerate(balanced)),
        "half": {uid: gold[uid] for uid in sorted(half)},
    }


async def answers_in(arrangement: Arrangement, prompter: Prompter, assigned: Labels, ask: Ask) -> Answers:
    """Ask about every claim, labelled or not, with all other labelled ones as context."""
    uids = arrangement.uids
    arranged = replace(prompter, claims=[prompter.claims[uid] for uid in uids], order=arrangement.order)
    requests = arranged.about(
        range(len(uids)), {place: assigned[uid] for place, uid in enumerate(uids) if uid in assigned}
    )
    responses = await ask(list(requests.values()), purpose=arrangement.kind)
    return Answers(
        scores={
            uids[place]: scoring.score(response.label_logprobs)
            for place, response in zip(requests, responses, strict=True)
        },
        last_is_true={
            uids[place]: (request.prompt or "").split("\n\n")[-2].endswith("True")
            for place, request in requests.items()
        },
    )


# --- statistics -----------------------------------------------------------------------------------------


def agreement(first: str, second: str) -> float:
    """Return the share of claims with the same proposed label."""
    return fmean(one == other for one, other in zip(first, second, strict=True))


def pull_of_the_last(found: Sequence[Answers]) -> float:
    """Return how much higher a claim scores after a true demonstration than after a false one, in nats.

    A claim is compared with itself in the other orders of the kind (least squares within claims), so it does
    not matter who it is. 0 where no claim was asked after both.
    """
    together = alone = 0.0
    for uid in found[0].scores:
        scores = [one.scores[uid] for one in found]
        last = [float(one.last_is_true[uid]) for one in found]
        usual, share = fmean(scores), fmean(last)
        together += sum((x - share) * (y - usual) for x, y in zip(last, scores, strict=True))
        alone += sum((x - share) ** 2 for x in last)
    return together / alone if alone else 0.0


def last_alike(one: Answers, assigned: Labels) -> float:
    """Return the share of labelled claims that are asked about right after one of their own label."""
    return fmean(one.last_is_true[uid] == bool(label) for uid, label in assigned.items())


def claim_spread(found: Sequence[Answers]) -> float:
    """Return how far orders of one kind move the score of one claim: a standard deviation, in nats."""
    return sqrt(fmean(variance([one.scores[uid] for one in found]) for uid in found[0].scores))


@dataclass(frozen=True, kw_only=True, slots=True)
class Summary:
    """One state in the orders of one kind."""

    energy: float
    energy_spread: float
    """Standard deviation over the orders; 0 of a single one."""
    mean_score: float
    mean_score_spread: float
    accuracy: float
    """Mean share of proposed labels that are the gold ones."""
    said_true: float
    """Mean share of proposed labels that are True."""
    claim_spread: float
    pull_of_the_last: float


def summary(found: Sequence[Answers], assigned: Labels, gold: str) -> Summary:
    """Sum up what was said in the orders of one kind."""
    energies = [one.energy(assigned) for one in found]
    means = [one.mean_score for one in found]
    several = len(found) > 1
    return Summary(
        energy=fmean(energies),
        energy_spread=stdev(energies) if several else 0.0,
        mean_score=fmean(means),
        mean_score_spread=stdev(means) if several else 0.0,
        accuracy=fmean(agreement(one.proposed, gold) for one in found),
        said_true=fmean(one.proposed.count("1") / len(gold) for one in found),
        claim_spread=claim_spread(found) if several else 0.0,
        pull_of_the_last=pull_of_the_last(found),
    )


def differences(reference: Sequence[Answers], tree: Sequence[Answers], assigned: Labels) -> dict[str, float]:
    """Say how far the trees are from the permutations, and how likely chance alone parts them so far.

    Spreads are compared by the distances from the medians (Brown and Forsythe, 1974).
    """
    energies = [[one.energy(assigned) for one in found] for found in (reference, tree)]
    strays = [[abs(one - median(of_kind)) for one in of_kind] for of_kind in energies]
    means = [[one.mean_score for one in found] for found in (reference, tree)]
    between: list[float] = []
    by_chance: list[float] = []
    for uid in reference[0].scores:
        scores = [[one.scores[uid] for one in found] for found in (reference, tree)]
        between.append((fmean(scores[1]) - fmean(scores[0])) ** 2)
        by_chance.append(sum(variance(of_kind) / len(of_kind) for of_kind in scores))
    return {
        "energy": fmean(energies[1]) - fmean(energies[0]),
        "energy_p": exact_p(*energies),
        "energy_spread_p": exact_p(*strays),
        "mean_score": fmean(means[1]) - fmean(means[0]),
        "mean_score_p": exact_p(*means),
        "claim_rms": sqrt(fmean(between)),
        "claim_rms_by_chance": sqrt(fmean(by_chance)),
    }


def agreements(found: Mapping[str, Sequence[Answers]]) -> dict[str, float]:
    """Return the mean share of equal labels over pairs of orders: {which pairs: share}."""
    proposed = {kind: [one.proposed for one in answers] for kind, answers in found.items()}
    pairs = {
        "within reference": combinations(proposed["reference"], 2),
        "within tree": combinations(proposed["tree"], 2),
        "reference and tree": product(proposed["reference"], proposed["tree"]),
        "published and reference": product(proposed["published"], proposed["reference"]),
        "published and tree": product(proposed["published"], proposed["tree"]),
        "published, asked twice": product(proposed["published"], proposed["again"]),
    }
    return {name: fmean(agreement(*pair) for pair in these) for name, these in pairs.items()}


# --- the run --------------------------------------------------------------------------------------------


async def evaluated(
    prompter: Prompter, assigned: Labels, generator: Generator, number: int
) -> dict[str, list[Answers]]:
    """Evaluate one state in every arrangement: {kind: its answers}."""
    found: dict[str, list[Answers]] = {}
    for place, arrangement in enumerate(arrangements(len(prompter.claims), number)):
        ask = SaltedAsk(generator=generator, salt=str(place))
        answers = await answers_in(arrangement, prompter, assigned, ask)
        found.setdefault(arrangement.kind, []).append(answers)
    return found


def reported(found: Mapping[str, Sequence[Answers]], assigned: Labels, drawn: Draw) -> dict[str, Any]:
    """Put together all that is to be known of one state."""
    gold = "".join(str(claim.gold or 0) for claim in drawn.claims)
    energies = {kind: [one.energy(assigned) for one in answers] for kind, answers in found.items()}
    alike = {kind: [last_alike(one, assigned) for one in answers] for kind, answers in found.items()}
    return {
        "kinds": {kind: asdict(summary(answers, assigned, gold)) for kind, answers in found.items()},
        "tree_less_reference": differences(found["reference"], found["tree"], assigned),
        "same_labels": agreements(found),
        "energy_with_last_alike": {
            kind: correlation(energies[kind], alike[kind])
            for kind in ("reference", "tree")
            if len({*alike[kind]}) > 1 and len({*energies[kind]}) > 1
        },
        "energies": energies,
        "last_alike": alike,
        "mean_scores": {kind: [one.mean_score for one in answers] for kind, answers in found.items()},
        "proposed": {kind: [one.proposed for one in answers] for kind, answers in found.items()},
    }


def show(name: str, report: Mapping[str, Any]) -> None:
    """Print one state."""
    for kind, one in report["kinds"].items():
        print(
            f"{name:8} {kind:10} {one['energy']:8.2f} {one['energy_spread']:6.2f} {one['mean_score']:8.3f} "
            f"{one['mean_score_spread']:6.3f} {one['claim_spread']:8.3f} {one['pull_of_the_last']:8.3f} "
            f"{one['accuracy']:8.2f} {one['said_true']:6.2f}"
        )
    apart = report["tree_less_reference"]
    print(
        f"{name:8} tree less reference: energy {apart['energy']:+.2f} (p {apart['energy_p']:.3f}), "
        f"mean score {apart['mean_score']:+.3f} (p {apart['mean_score_p']:.3f}), "
        f"claim by claim {apart['claim_rms']:.3f} ({apart['claim_rms_by_chance']:.3f} by chance)"
    )
    with_alike = ", ".join(f"{kind} {one:+.2f}" for kind, one in report["energy_with_last_alike"].items())
    print(
        f"{name:8} energy spread p {apart['energy_spread_p']:.3f}; correlation of energy and claims asked "
        f"after their own label: {with_alike}"
    )
    same = ", ".join(f"{pairs} {share:.3f}" for pairs, share in report["same_labels"].items())
    print(f"{name:8} same labels: {same}", flush=True)


async def compare(settings: Settings, drawn: Draw, number: int, folder: Path) -> tuple[str, dict[str, Any]]:
    """Evaluate every state, with a store in `folder`: (model, {state: what is to be known of it})."""
    reports: dict[str, Any] = {}
    store = DiskStore(folder)
    async with VLLMServer(settings.base_url, api_key=settings.api_key) as server:
        model = settings.model or next(iter((await server.capabilities()).roots))
        generator = Generator(backend=server, lookup=Lookup(store, CacheMode.USE))
        prompter = await prompter_of(generator, drawn, "reference", model)
        for name, assigned in states(drawn).items():
            found = await evaluated(prompter, assigned, generator, number)
            reports[name] = reported(found, assigned, drawn)
            show(name, reports[name])
    store.close()
    return model, reports


def main() -> None:
    """Compare, print, and write bench/results/icm_order.json."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", type=Path)
    parser.add_argument("--size", type=int, default=32, help="claims; even")
    parser.add_argument("--orders", type=int, default=8, help="of each kind")
    parser.add_argument("--store", type=Path, help="keeps answers; else none are kept")
    options = parser.parse_args()
    drawn = draw(load_claims(options.claims), size=options.size, num_seeds=8, group_size=4, seed=SEED)
    print(
        f"{'state':8} {'order':10} {'energy':>8} {'sd':>6} {'score':>8} {'sd':>6} {'sd/claim':>8} "
        f"{'last':>8} {'accuracy':>8} {'true':>6}"
    )
    try:
        with tempfile.TemporaryDirectory() as folder:
            work = compare(load_settings(), drawn, options.orders, options.store or Path(folder))
            model, reports = asyncio.run(work)
    except BackendError as error:
        sys.exit(f"{error}; start a server with `make up`, or name one in VLLM_BASE_URL")
    result = {
        "about": "the same labels under permuted uids and under permuted leaves of the tree, by a real model",
        "command": "make bench-icm-order",
        "measured": datetime.now(UTC).date().isoformat(),
        "machine": f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores",
        "model": model,
        "size": options.size,
        "orders_of_each_kind": options.orders,
        "alpha": ALPHA,
        "gold": "".join(str(claim.gold or 0) for claim in drawn.claims),
        "labels": {
            name: {str(uid): label for uid, label in assigned.items()}
            for name, assigned in states(drawn).items()
        },
        "states": reports,
    }
    RESULT.parent.mkdir(exist_ok=True)
    RESULT.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
