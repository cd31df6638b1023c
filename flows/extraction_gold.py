"""Gold spans of an extraction: checked against its documents first, compared with its entities at the end."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.extraction_files import read_files
from flows.extraction_source import Source
from flows.reports.extraction import EvaluationRow
from flows.reports.extraction import Scores as ShownScores
from tasks.extraction.evaluation import Evaluation, Score, Scores, evaluate
from tasks.extraction.gold import GoldError, GoldSpan, read_gold
from tasks.extraction.spec import ExtractionSpec
from tasks.extraction.values import Document, Entity

Gold = Mapping[str, Sequence[GoldSpan]]
"""{document id: what should be found}"""

HOW_IT_MATCHES = (
    "exact: start, end and label are those of a gold span; partial: a span that only overlaps one counts "
    "half; type: it counts whole. Each gold span is matched once."
)


def load_gold(path: Path, source: Source, spec: ExtractionSpec) -> Gold:
    """Read gold spans, and check that they are of these documents and labels.

    Raises:
        GoldError: They are not.
    """
    named = read_gold(path, labels=spec.label_names)
    if not named:
        raise GoldError(f"{path} holds no document; give one JSON object a line, with `id` and `entities`")
    texts = {
        one.id: one.text if one.id in named else ""  # only those are looked into
        for one in source.documents()
        if isinstance(one, Document)
    }
    return read_gold(path, texts=texts, labels=spec.label_names)


def evaluate_files(gold: Gold, directory: Path, coverage: float | None) -> Evaluation:
    """Compare the entities in a run's folder with gold spans."""
    found: dict[str, Sequence[Entity]] = {
        one.id: one.entities for one in read_files(directory) if one.id in gold or one.entities
    }
    return evaluate(gold, found, coverage=coverage)


def as_json(evaluation: Evaluation) -> dict[str, object]:
    """Return an evaluation as plain JSON."""
    return {
        "micro": _all_scores(evaluation.micro),
        "labels": {label: _all_scores(scores) for label, scores in evaluation.labels.items()},
        "grounding": _scores(evaluation.grounding),
        "confusion": [
            {"gold": one.gold, "found": one.found, "count": one.count} for one in evaluation.confusion
        ],
        "without_span": dict(evaluation.without_span),
        "coverage": evaluation.coverage,
        "documents": evaluation.documents,
        "unscored_documents": evaluation.unscored_documents,
    }


def _all_scores(scores: Scores) -> dict[str, object]:
    return {"exact": _scores(scores.exact), "partial": _scores(scores.partial), "type": _scores(scores.type)}


def _scores(score: Score) -> dict[str, float | None]:
    return {
        "precision": score.precision,
        "recall": score.recall,
        "f1": score.f1,
        "correct": score.correct,
        "found": score.found,
        "gold": score.gold,
    }


def rows(evaluation: Evaluation) -> list[EvaluationRow]:
    """Return the lines of the report's table, all labels together first."""
    named = [("all", evaluation.micro), *evaluation.labels.items()]
    return [
        EvaluationRow(
            label=label,
            exact=_shown(scores.exact),
            partial=_shown(scores.partial),
            type=_shown(scores.type),
        )
        for label, scores in named
    ]


def _shown(score: Score) -> ShownScores:
    return ShownScores(precision=score.precision, recall=score.recall, f1=score.f1)


def in_a_sentence(evaluation: Evaluation) -> str:
    """Say above the table what was compared and how."""
    precision = evaluation.grounding.precision
    right = (
        "no entity has a span" if precision is None else f"{precision:.1%} of spans are those of a gold one"
    )
    return (
        f"{evaluation.documents} documents have gold spans; whatever their labels, {right}. {HOW_IT_MATCHES}"
    )
