"""Scores, energy, temperature and acceptance against numbers of the reference's own functions."""

import math
import random
from collections.abc import Mapping

import pytest

from backends.errors import ResponseFormatError
from backends.messages import Label, Request, Response, SamplingParams
from backends.wire import parse_completion
from tasks.icm.scoring import (
    LabelMassError,
    acceptance,
    energy,
    label_mass,
    margin,
    mutual_predictability,
    proposed_label,
    require_label_mass,
    score,
    temperature,
)

TOP_20 = (Label(text="False"), Label(text="True"))


def read(logprobs: Mapping[str, float] | None) -> Response:
    """Read a server's reply with these most likely tokens, as the reference of ICM asks for them."""
    request = Request(model="m", prompt="p", sampling=SamplingParams(max_tokens=1), labels=TOP_20)
    found = None if logprobs is None else {"top_logprobs": [dict(logprobs)]}
    choice = {"index": 0, "text": "x", "finish_reason": "length", "logprobs": found}
    responses, _ = parse_completion([request], {"choices": [choice]})
    return responses[0]


def logs(probabilities: Mapping[str, float]) -> dict[str, float]:
    return {text: math.log(probability) for text, probability in probabilities.items()}


def log_temperature(flips: int) -> float:
    return temperature(flips, schedule="log", initial=10.0, final=0.01, decay=0.99)


def exp_temperature(flips: int) -> float:
    return temperature(flips, schedule="exp", initial=10.0, final=0.01, decay=0.99)


FACT_1 = {
    0: 10, 1: 4.190597842, 2: 3.127712726, 3: 2.650699755, 5: 2.181729831, 8: 1.853757393, 10: 1.725390164,
    50: 1.128203231, 100: 0.977494075, 256: 0.82657251, 500: 0.744423586, 1000: 0.674877243,
    1500: 0.639886411, 3000: 0.587771933,
}  # fmt: skip


@pytest.mark.parametrize(("flips", "expected"), FACT_1.items())
def test_fact_1_log_schedule(flips: int, expected: float) -> None:
    assert log_temperature(flips) == pytest.approx(expected, abs=5.1e-10)


FACT_2 = {1: 9.9, 10: 9.04382075, 100: 3.660323413, 500: 0.06570483, 687: 0.010031796, 688: 0.01}


@pytest.mark.parametrize(("flips", "expected"), FACT_2.items())
def test_fact_2_exp_schedule(flips: int, expected: float) -> None:
    assert exp_temperature(flips) == pytest.approx(expected, abs=5.1e-10)


@pytest.mark.parametrize(
    ("n", "paper"), {1: 10, 2: 5.930439, 10: 3.04919, 100: 1.798846, 1000: 1.275725}.items()
)
def test_fact_2_log_schedule_is_not_the_papers(n: int, paper: float) -> None:
    assert 10 / (1 + 0.99 * math.log(n)) == pytest.approx(paper, abs=5.1e-7)
    assert abs(log_temperature(n) - paper) > 0.1


def test_fact_2_temperature_never_falls_below_the_final_one() -> None:
    assert temperature(10**9, schedule="log", initial=1.0, final=0.5, decay=0.99) == 0.5
    assert exp_temperature(10**6) == 0.01


FACT_3: dict[str, tuple[dict[str, float], float]] = {
    "both": ({"True": -0.5, "False": -1.0}, 0.4999893046279557),
    "all spellings are summed": (
        logs({"True": 0.4, " true": 0.1, "TRUE": 0.05, "False": 0.3, " false": 0.05}),
        0.45197473437553615,
    ),
    "only True": (logs({"True": 0.9}), 11.407576060361786),
    "only False": (logs({"False": 0.9}), -11.407576060361786),
    "neither": ({" Paris": -0.1, " I": -3.0}, 0.0),
    "empty": ({}, 0.0),
    "True for sure": ({"True": 0.0}, 11.51293546492023),
    "a token with both counts for none": ({"truefalse": -0.1, "False": -3.0}, -8.513126300170722),
    "untrue counts for True": (logs({" untrue": 0.5, "False": 0.2}), 0.9162607329241158),
    "equal": (logs({"True": 0.3, "False": 0.3}), 0.0),
}


@pytest.mark.parametrize(("logprobs", "expected"), FACT_3.values(), ids=FACT_3)
def test_fact_3_score_of_the_most_likely_tokens(logprobs: dict[str, float], expected: float) -> None:
    assert score(read(logprobs).label_logprobs) == pytest.approx(expected, rel=1e-12, abs=1e-12)


def test_fact_3_a_tie_proposes_false() -> None:
    assert proposed_label(score(read(logs({"True": 0.3, "False": 0.3})).label_logprobs)) == 0
    assert proposed_label(0.0) == 0
    assert proposed_label(1e-300) == 1


def test_fact_3_reply_without_logprobs_is_refused() -> None:
    """The reference scores it 0, invisibly."""
    with pytest.raises(ResponseFormatError, match=r"log-probabilities were asked for, and none came back"):
        read(None)


def test_scores_stay_within_the_reference_cap() -> None:
    cap = math.log((1 + 1e-5) / 1e-5)
    assert score({"True": 0.0, "False": -math.inf}) == pytest.approx(cap, rel=1e-12)
    assert score({"True": -math.inf, "False": 0.0}) == pytest.approx(-cap, rel=1e-12)


def test_fact_4_energy_of_three_labels_and_two_inconsistent_pairs() -> None:
    assigned, scores = {0: 1, 1: 0, 2: 1}, {0: 2.0, 1: -1.0, 2: -0.5}
    predictability = mutual_predictability(assigned, scores)
    assert predictability == pytest.approx(0.8333333333333334, rel=1e-15)
    assert energy(predictability, 2, alpha=50) == pytest.approx(39.66666666666667, rel=1e-15)
    assert energy(predictability, 2, alpha=30) == pytest.approx(23.0, rel=1e-15)


def test_margin_is_how_much_the_others_speak_for_a_label() -> None:
    assert [margin(1, 2.5), margin(0, 2.5), margin(0, -2.5)] == [2.5, -2.5, 2.5]


FACT_5 = [
    (59, 60, 0, 0.904837418),
    (59, 60, 10, 0.560134103),
    (50, 60, 0, 0.367879441),
    (50, 60, 100, 3.6063e-05),
    (60.5, 60, 3, 1.207593379),
]


@pytest.mark.parametrize(("new", "old", "flips", "expected"), FACT_5)
def test_fact_5_acceptance(new: float, old: float, flips: int, expected: float) -> None:
    assert acceptance(new, old, log_temperature(flips)) == pytest.approx(expected, abs=5.1e-10)


@pytest.mark.parametrize("ratio", [709.7, 709.8, 889.0, 1e300])
def test_fact_5_a_huge_gain_is_accepted_and_not_an_overflow(ratio: float) -> None:
    assert acceptance(ratio, 0.0, 1.0) > 1
    assert acceptance(8.89, 0.0, 0.01) > 1


def test_fact_5_a_huge_loss_is_never_accepted() -> None:
    assert acceptance(-1e300, 0.0, 0.01) == 0.0
    assert random.Random(0).random() >= acceptance(-1e6, 0.0, 0.01)


# --- label mass -----------------------------------------------------------------------------------------


def said(text: str, mass: float) -> Response:
    return Response(
        text=text, finish_reason="length", label_logprobs=logs({"True": mass / 2, "False": mass / 2})
    )


def test_label_mass_is_the_probability_of_both_labels() -> None:
    assert label_mass(read({"True": math.log(0.5), "False": math.log(0.25), " So": -2.0})) == pytest.approx(
        0.75
    )
    assert label_mass(read({" So": -0.1})) == 0.0


def test_low_label_mass_stops_and_shows_what_the_model_wanted_to_say() -> None:
    replies = [said(" Paris", 0.001), said(" Paris", 0.002), said("\n", 0.003), said(" True", 0.9)]
    with pytest.raises(LabelMassError) as caught:
        require_label_mass(replies, at_least=0.01)
    message = str(caught.value)
    assert "median probability of 0.002, under min_label_mass 0.01" in message
    assert r"it wanted to say ' Paris' (2 of 4), '\n' (1 of 4), ' True' (1 of 4)" in message
    assert "trailing_space=false" in message


def test_label_mass_at_the_limit_is_enough() -> None:
    replies = [said("a", 0.25), said("b", 0.25), said("c", 0.75)]
    assert require_label_mass(replies, at_least=0.25 - 1e-12) == pytest.approx(0.25)
    assert require_label_mass([said("a", 1e-6)], at_least=0.0) == pytest.approx(1e-6)
