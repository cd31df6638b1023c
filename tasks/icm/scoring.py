"""Label probabilities to scores, scores to energy, energy to acceptance. Pure arithmetic.

All of it as in the reference implementation of ICM, which differs from the paper (arXiv 2506.10139) in that
the energy is a mean of smoothed log-odds, and the temperature falls with accepted changes.
"""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Literal

from backends.messages import Response
from tasks.icm.claims import LABEL_TEXTS

EPSILON = 1e-5
"""Added to both probabilities, so that scores stay within +-ln((1 + EPSILON) / EPSILON) = +-11.51."""

MAX_EXPONENT = 700.0
"""math.exp overflows at 709.8; beyond this a gain is accepted whatever it is."""

Schedule = Literal["log", "exp"]


class LabelMassError(RuntimeError):
    """The model gives the labels next to no probability, so that scores would be noise."""


def score(label_logprobs: Mapping[str, float]) -> float:
    """Smoothed log-odds of True: ln(P(True) + eps) - ln(P(False) + eps), in nats."""
    false, true = (math.exp(label_logprobs[text]) for text in LABEL_TEXTS)
    return math.log(true + EPSILON) - math.log(false + EPSILON)


def proposed_label(claim_score: float) -> int:
    """Return the label that a score speaks for; a tie is False."""
    return 1 if claim_score > 0 else 0


def mutual_predictability(assigned: Mapping[int, int], scores: Mapping[int, float]) -> float:
    """Mean log-odds of the assigned labels, each given all others, in nats."""
    return fmean(margin(assigned[uid], scores[uid]) for uid in assigned)


def margin(label: int, claim_score: float) -> float:
    """How much the other labels speak for this one, in nats; negative when they speak against it."""
    return claim_score if label == 1 else -claim_score


def energy(predictability: float, inconsistent_pairs: int, *, alpha: float) -> float:
    """What a search maximises: alpha * mutual predictability - number of inconsistent pairs."""
    return alpha * predictability - inconsistent_pairs


def temperature(flips: int, *, schedule: Schedule, initial: float, final: float, decay: float) -> float:
    """Return the temperature after `flips` accepted changes.

    log: max(final, initial / (1 + 2 ln(1 + flips))); exp: max(final, initial * decay**flips). The factor 2
    and the count of accepted changes are the reference's; the paper has beta and the iteration.
    """
    if schedule == "log":
        return max(final, initial / (1 + 2 * math.log(1 + flips)))
    return max(final, initial * decay**flips)


def acceptance(new_energy: float, old_energy: float, temperature: float) -> float:
    """Metropolis ratio exp((new - old) / temperature); above 1 the change is certain to be accepted."""
    return math.exp(min((new_energy - old_energy) / temperature, MAX_EXPONENT))


def label_mass(response: Response) -> float:
    """Probability that the model says any of the labels next."""
    return sum(math.exp(logprob) for logprob in response.label_logprobs.values())


def require_label_mass(responses: Sequence[Response], *, at_least: float) -> float:
    """Return the median label mass of an evaluation.

    Raises:
        LabelMassError: It is under `at_least`; the message shows what the model wanted to say instead.
    """
    # The lower of the middle two, which exists as a value of one prompt.
    median = sorted(label_mass(response) for response in responses)[(len(responses) - 1) // 2]
    if median < at_least:
        wanted = Counter(response.text for response in responses).most_common(3)
        said = ", ".join(f"{text!r} ({count} of {len(responses)})" for text, count in wanted)
        raise LabelMassError(
            f"the model gives True and False a median probability of {median:.2g}, under min_label_mass "
            f"{at_least:g}; it wanted to say {said}. Try trailing_space=false, more seeds, or another model"
        )
    return median
