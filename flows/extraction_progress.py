"""What people see while an extraction goes on: documents that are done, and parts of others."""

from dataclasses import dataclass, field

from flows.batch_progress import BatchProgress


@dataclass(kw_only=True)
class ExtractionProgress(BatchProgress):
    """Counts documents; of one that is being asked about, the share of its chunks that is answered."""

    key: str = "extraction-progress"
    _shares: dict[str, float] = field(default_factory=dict[str, float])

    @property
    def done(self) -> float:
        """Documents that are done, with the shares of those that are not."""
        return min(self.total, self._finished + sum(self._shares.values()))

    def watch(self, purpose: str, done: int, total: int) -> None:
        """Take note of answers about a document, whose id the purpose begins with."""
        document = purpose.rpartition(": ")[0]
        self._shares[document] = max(self._shares.get(document, 0.0), done / max(1, total))

    def finish(self, purpose: str, prompts: int = 1) -> None:
        """Take note of a document that is done."""
        self._shares.pop(purpose, None)
        self._finished += prompts

    def counted(self, done: float) -> str:
        """Say how many are done, and how much of all."""
        return f"{int(done)} of {self.total} documents done ({done / max(1, self.total):.0%})"
