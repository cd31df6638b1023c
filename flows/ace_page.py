"""From the result of an ACE run to the page that shows it."""

from collections.abc import Sequence

from flows.ace_costs import RoleCost
from flows.ace_results import AceResult, interval
from flows.reports.ace_views import AcePage, CostView, EvaluationView, MethodView, Split, StepView
from tasks.ace.adapting import Step, Validated

SPLITS: dict[str, Split] = {"validation": "validation", "window": "window", "test": "test"}


def ace_page(result: AceResult) -> AcePage:
    """Say what the report shows."""
    return AcePage(
        title=f"ACE on {result.task}",
        headline=result.headline(),
        warnings=result.warnings(),
        facts=_facts(result),
        start=result.start,
        steps=[step_view(step, tokens) for step, tokens in zip(result.steps, result.tokens, strict=True)],
        evaluations=[evaluation_view(one) for one in result.validations],
        methods=_methods(result),
        costs=_costs(result),
        stops=result.stops,
        best_step=result.best_step if result.flow == "ace" else None,
        questions=result.questions,
    )


def step_view(step: Step, tokens: int) -> StepView:
    """Show a step."""
    runs = step.learned.questions
    return StepView(
        number=step.number,
        epoch=step.epoch,
        rows=tuple(run.question.id for run in runs),
        correct_first=sum(run.is_right_at_first for run in runs),
        correct_last=sum(run.is_right_at_last for run in runs),
        tokens=tokens,
        changes=step.learned.changes,
        votes=step.learned.votes,
    )


def evaluation_view(one: Validated) -> EvaluationView:
    """Show an evaluation."""
    low, high = interval(one.evaluation)
    return EvaluationView(
        step=one.step,
        split=SPLITS[one.split],
        name=one.split,
        right=one.evaluation.right,
        total=one.evaluation.total,
        low=low,
        high=high,
        parsed=one.evaluation.readable,
    )


def _methods(result: AceResult) -> list[MethodView]:
    views: list[MethodView] = []
    for method in result.methods:
        low, high = interval(method.evaluation)
        spent = [one for one in result.costs if one.role in method.parts]
        views.append(
            MethodView(
                name=method.name,
                note=f"{method.note}{_free(spent)}",
                right=method.evaluation.right,
                total=method.evaluation.total,
                low=low,
                high=high,
                calls=sum(one.put for one in spent),
                input_tokens=sum(one.cost.input_tokens for one in spent),
                output_tokens=sum(one.cost.output_tokens for one in spent),
            )
        )
    return views


def _free(spent: Sequence[RoleCost]) -> str:
    """Say where a method cost nothing because the same was asked before."""
    is_free = sum(one.put for one in spent) > 0 and not any(one.cost.sent for one in spent)
    return "; another part of this run, or another run, had asked the same" if is_free else ""


def _costs(result: AceResult) -> list[CostView]:
    return [
        CostView(
            role=one.role,
            tier=one.tier,
            model=one.model,
            calls=one.put,
            sent=one.cost.sent,
            input_tokens=one.cost.input_tokens,
            output_tokens=one.cost.output_tokens,
            took_over=one.took_over,
            rescued=one.rescued,
            gained=one.gained,
            lost=one.lost,
        )
        for one in result.costs
    ]


def _facts(result: AceResult) -> list[tuple[str, str]]:
    parameters, tally = result.parameters, result.tally
    usd = "not known" if result.cost_usd is None else f"{result.cost_usd:.4f}"
    applied, proposed = result.proposed()
    share = f" ({applied / proposed:.0%})" if proposed else ""
    return [
        ("model", result.model),
        ("task", result.task),
        ("learns from", parameters.feedback),
        (
            "validated by",
            "labels" if parameters.feedback == "labels" else f"what {parameters.feedback} accepts",
        ),
        ("rows at a time", f"{parameters.batch_size}; {parameters.rounds} rounds"),
        ("room for the playbook", f"{result.max_tokens:,} tokens"),
        ("edits applied", f"{applied:,} of {proposed:,}{share}"),
        ("prompts sent", f"{tally.sent:,}; from the store {tally.from_the_store:,}"),
        ("requests", f"{tally.requests:,}; prompts that failed {tally.failed:,}"),
        ("tokens", f"{tally.usage.input_tokens:,} in, {tally.usage.output_tokens:,} out"),
        ("cost in US dollars", usd),
        ("seconds", f"{result.seconds:.0f}"),
    ]
