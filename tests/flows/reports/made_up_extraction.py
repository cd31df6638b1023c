"""Documents, entities and reports of an extraction that nobody ran."""

import random
from collections.abc import Iterator, Sequence

from flows.reports.extraction import (
    DocumentStatus,
    DocumentView,
    EvaluationRow,
    ExtractionPage,
    FailedRange,
    Scores,
)
from tasks.extraction.values import Entity, Provenance, Status

LABELS = (
    ("party", "A person or company that is bound by the text, or sues and is sued in it"),
    ("court", "A court, with its place where it stands there"),
    ("judge", "A judge by name, without the title"),
    ("case citation", "A decision that is referred to, with reporter and year"),
    ("statute", "A provision of a law or of a constitution"),
    ("date", "A day, a month or a year"),
    ("amount", "A sum of money"),
)

CONTRACT = """SUPPLY AGREEMENT

This Supply Agreement is made on 3 March 2024 between Harbour Grain Ltd, a company registered in Leith \
("the Seller"), and Oriel Mills GmbH, a company registered in Bremen ("the Buyer").

1. Delivery. The Seller shall deliver 400 tonnes of barley by 30 June 2024. For every day of delay the \
Seller owes the Buyer 1,200 euros, at most 36,000 euros in all.

2. Price. The Buyer pays 198.50 euros a tonne within thirty days of delivery. A payment that is late bears \
interest under section 288 of the German Civil Code (BGB).

3. Law. This agreement is governed by German law. The Regional Court of Bremen decides all disputes; Harbour \
Grain Ltd accepts its jurisdiction.
"""

OPINION = """IN THE COURT OF APPEALS FOR THE NORTHERN CIRCUIT

Marlow Shipping Co. v. Estate of Anna Bright, No. 22-1187
Argued 14 November 2023. Decided 9 February 2024.

Before OKAFOR, LINDQVIST and DE LA CRUZ, Circuit Judges.

LINDQVIST, Circuit Judge. Marlow Shipping Co. appeals from a judgment of the District Court for the Eastern \
District that awarded the Estate of Anna Bright 2.4 million dollars. The question is whether the notice that \
section 14(b) of the Carriage Act requires had to be in writing.

We held in Pell v. Harrow Lines, 88 N. Cir. 417 (2009), that oral notice suffices where the carrier "knew of \
the loss the day it happened" \U0001f6a2. The statute has not changed since. \
See also In re Tern, 91 N. Cir. 12, 19 (2011).

The judgment of the District Court is AFFIRMED.
"""

NEWS = """Ferry talks end without a deal

LEITH, 12 January: The talks between Marlow Shipping and the dockers' union ended on Friday without a deal. \
“We will be back on Monday”, said Ines Calder, who speaks for the union. \
渡船公司 \U00020b9f家 declined to comment.

The city has lost 1.8 million pounds in fees since December, its treasurer said.
"""


def entity(
    document: str, label: str, text: str, *, occurrence: int = 0, status: Status = "exact", **more: object
) -> Entity:
    """Return an entity at the occurrence of its text in the document, found by all three passes."""
    start = -1
    for _ in range(occurrence + 1):
        start = document.index(text, start + 1)
    votes = more.pop("votes", 3)
    assert isinstance(votes, int)
    found = {
        "votes": votes,
        "confidence": votes / 3,
        "provenance": tuple(Provenance(pass_number=n, chunk=start // 400, index=n) for n in range(votes)),
        **more,
    }
    return Entity(label=label, text=text, status=status, start=start, end=start + len(text), **found)  # pyright: ignore[reportArgumentType]


def lost(label: str, text: str, status: Status, votes: int = 1) -> Entity:
    """Return an item without a span."""
    place = (Provenance(pass_number=0, chunk=0, index=7),)
    return Entity(
        label=label,
        text=text,
        status=status,
        start=None,
        end=None,
        votes=votes,
        confidence=votes / 3,
        provenance=place,
    )


def contract() -> DocumentView:
    """A contract with attributes, values and a nested amount."""
    text = CONTRACT
    return DocumentView(
        id="contracts/supply-agreement.txt",
        text=text,
        status="complete",
        coverage=1.0,
        entities=[
            entity(text, "date", "3 March 2024", normalized="2024-03-03"),
            entity(text, "party", "Harbour Grain Ltd", attributes={"role": "seller", "seat": "Leith"}),
            entity(text, "party", "Oriel Mills GmbH", attributes={"role": "buyer", "seat": "Bremen"}),
            entity(text, "party", "Seller", votes=1),
            entity(text, "date", "30 June 2024", normalized="2024-06-30"),
            entity(text, "amount", "1,200 euros", normalized="1200.00 EUR"),
            entity(text, "amount", "36,000 euros", normalized="36000.00 EUR", votes=2),
            entity(text, "amount", "198.50 euros", normalized="198.50 EUR"),
            entity(text, "statute", "section 288 of the German Civil Code (BGB)", status="normalized"),
            entity(text, "court", "Regional Court of Bremen"),
            entity(text, "party", "Harbour Grain Ltd", occurrence=0 + text.count("Harbour Grain Ltd") - 1),
            lost("party", "Oriel Mills GmbH", "duplicate"),
            lost("party", "Acme Corporation", "leaked"),
            lost("court", "High Court of Edinburgh", "ungrounded"),
        ],
    )


def opinion() -> DocumentView:
    """An opinion with nested and overlapping spans, an emoji, and a part that failed."""
    text = OPINION
    citation = "Pell v. Harrow Lines, 88 N. Cir. 417 (2009)"
    lost_part = text.index("The judgment of the District Court is")
    return DocumentView(
        id="opinions/marlow-v-bright.txt",
        text=text,
        status="partial",
        reason="1 of 4 chunks has no answer",
        coverage=lost_part / len(text),
        entities=[
            entity(text, "court", "COURT OF APPEALS FOR THE NORTHERN CIRCUIT", status="normalized"),
            entity(
                text, "case citation", "Marlow Shipping Co. v. Estate of Anna Bright, No. 22-1187", votes=2
            ),
            entity(text, "party", "Marlow Shipping Co."),
            entity(text, "party", "Estate of Anna Bright"),
            entity(text, "date", "14 November 2023", normalized="2023-11-14"),
            entity(text, "date", "9 February 2024", normalized="2024-02-09"),
            entity(text, "judge", "OKAFOR"),
            entity(text, "judge", "LINDQVIST"),
            entity(text, "judge", "DE LA CRUZ"),
            entity(text, "judge", "LINDQVIST", occurrence=1, attributes={"role": "author of the opinion"}),
            entity(text, "party", "Marlow Shipping Co.", occurrence=1),
            entity(text, "court", "District Court for the Eastern District"),
            entity(text, "party", "Estate of Anna Bright", occurrence=1),
            entity(text, "amount", "2.4 million dollars", normalized="2400000.00 USD"),
            entity(text, "statute", "section 14(b) of the Carriage Act"),
            entity(text, "case citation", citation),
            entity(text, "party", "Harrow Lines", votes=1, conflict=True),
            entity(text, "date", "2009", normalized="2009"),
            entity(
                text, "case citation", "Harrow Lines, 88 N. Cir. 417 (2009), that", votes=1, status="fuzzy"
            ),
            entity(text, "case citation", "In re Tern, 91 N. Cir. 12, 19 (2011)"),
            lost("judge", "Hargreaves", "ungrounded"),
            lost("case citation", "Brown v. Board of Education", "leaked"),
        ],
        failed=[
            FailedRange(
                start=lost_part, end=len(text), reason="the answer was cut off at 4,096 tokens, twice"
            )
        ],
    )


def news() -> DocumentView:
    """A news report with characters beyond the basic plane before its last entities."""
    text = NEWS
    return DocumentView(
        id="news/ferry.html",
        text=text,
        status="complete",
        coverage=1.0,
        entities=[
            entity(text, "date", "12 January", normalized="01-12"),
            entity(text, "party", "Marlow Shipping"),
            entity(text, "party", "渡船公司 \U00020b9f家"),
            entity(text, "amount", "1.8 million pounds", normalized="1800000.00 GBP"),
        ],
    )


def evaluation() -> Sequence[EvaluationRow]:
    """Made-up scores; one label has no gold."""
    rows = [
        EvaluationRow(
            label=label,
            exact=Scores(precision=0.9 - n / 40, recall=0.88 - n / 30, f1=0.89 - n / 35),
            partial=Scores(precision=0.94 - n / 40, recall=0.92 - n / 30, f1=0.93 - n / 35),
            type=Scores(precision=0.97 - n / 40, recall=0.95 - n / 30, f1=0.96 - n / 35),
        )
        for n, (label, _) in enumerate(LABELS[:-1])
    ]
    nothing = EvaluationRow(label="amount", exact=Scores(), partial=Scores(), type=Scores(precision=0.5))
    return [*rows, nothing]


def made_up_page(more: Sequence[DocumentView] = ()) -> ExtractionPage:
    """Return a report of three documents and of those given."""
    return ExtractionPage(
        title="Entities of legal documents",
        headline="7 labels, 3 passes, asked of a model that nobody ran",
        warnings=["1 document was not read to the end: opinions/marlow-v-bright.txt"],
        facts=[
            ("model", "made-up/model-1b, revision 4f2a91c"),
            ("prompt tokens", "48,210 (31,400 from the prefix cache)"),
            ("completion tokens", "6,044"),
            ("requests", "36, of which 24 were answered from the store"),
            ("chunks", "12 of at most 1,000 characters, 200 overlap"),
            ("cost", "none, the model is your own"),
            ("time", "41 s"),
        ],
        labels=LABELS,
        documents=[contract(), opinion(), news(), *more],
        evaluation=evaluation(),
        evaluation_note="All entities with a span, against the gold spans of three documents.",
    )


def many(documents: int, seed: int = 0) -> Iterator[DocumentView]:
    """Yield short documents; one in twenty has failed or could not be read."""
    draw = random.Random(seed)
    for number in range(documents):
        status: DocumentStatus = draw.choice(("failed", "unreadable")) if number % 20 == 19 else "complete"
        text = (
            ""
            if status == "unreadable"
            else f"Document {number} was signed by Ada Lane on 3 May 1{number:03}.\n"
        )
        found = () if status != "complete" else (entity(text, "party", "Ada Lane"),)
        reason = {"failed": "no chunk has an answer", "unreadable": "it is no text: byte 0x00 at 12"}.get(
            status, ""
        )
        coverage = {"failed": 0.0, "unreadable": None}.get(status, 1.0)
        yield DocumentView(
            id=f"folder/{number:03}.txt",
            text=text,
            status=status,
            reason=reason,
            coverage=coverage,
            entities=found,
        )


def large(characters: int, entities: int, seed: int = 0) -> DocumentView:
    """Return a document of that many characters in paragraphs, with entities of all labels all over it."""
    draw = random.Random(seed)
    words = [
        "agreement",
        "party",
        "of",
        "the",
        "shall",
        "court",
        "notice",
        "Lane",
        "delivery",
        "in",
        "and",
        "\U0001f4dc",
    ]
    parts: list[str] = []
    size = 0
    while size < characters:
        parts.append(" ".join(draw.choices(words, k=draw.randrange(20, 160))) + ".\n\n")
        size += len(parts[-1])
    text = "".join(parts)[:characters]
    found: list[Entity] = []
    for start in sorted(draw.sample(range(characters - 60), entities)):
        end = start + draw.randrange(4, 60)
        label = draw.choice(LABELS)[0]
        votes = draw.randrange(1, 4)
        found.append(
            Entity(
                label=label,
                text=text[start:end],
                status="exact",
                start=start,
                end=end,
                votes=votes,
                confidence=votes / 3,
            )
        )
    return DocumentView(id="large.txt", text=text, status="complete", coverage=1.0, entities=found)
