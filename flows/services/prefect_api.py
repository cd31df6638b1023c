"""The few questions that `up` and `down` ask a Prefect server, without importing Prefect: that takes 2 s."""

from dataclasses import dataclass
from datetime import datetime

import httpx
from pydantic import TypeAdapter, ValidationError

TIMEOUT_SECONDS = 10.0
ROWS = TypeAdapter(list[dict[str, object]])
UNFINISHED = ("PENDING", "RUNNING", "CANCELLING")


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefectAPI:
    """A Prefect server's API.

    Whatever goes wrong while asking counts as the answer "no": the server may be starting or stopping.
    """

    url: str
    """With the closing `/api`."""

    auth: str | None = None
    """`user:password`, where the server asks for it."""

    def is_healthy(self) -> bool:
        """Whether the server answers and its database works."""
        return self._ask("GET", "/health") is True

    def has_work_pool(self, name: str) -> bool:
        """Whether this database knows the pool; a fresh one does not."""
        return isinstance(self._ask("GET", f"/work_pools/{name}"), dict)

    def worker_reported_since(self, pool: str, since: float) -> bool:
        """Whether a worker of the pool sent a sign of life after a moment, in seconds since the epoch."""
        workers = self._rows(f"/work_pools/{pool}/workers/filter", {})
        reports = [worker.get("last_heartbeat_time") for worker in workers]
        return any(datetime.fromisoformat(str(report)).timestamp() >= since for report in reports if report)

    def crash_unfinished_runs(self, pool: str, message: str) -> int:
        """Mark as crashed the flow runs of a pool that were under way; return how many there were.

        For when their processes are known to be dead: nobody else would tell the server.
        """
        unfinished = {"flow_runs": {"state": {"type": {"any_": list(UNFINISHED)}}}}
        ours = [
            run for run in self._rows("/flow_runs/filter", unfinished) if run.get("work_pool_name") == pool
        ]
        crashed = {"state": {"type": "CRASHED", "name": "Crashed", "message": message}, "force": True}
        for run in ours:
            self._ask("POST", f"/flow_runs/{run['id']}/set_state", crashed)
        return len(ours)

    def _rows(self, path: str, body: object) -> list[dict[str, object]]:
        try:
            return ROWS.validate_python(self._ask("POST", path, body))
        except ValidationError:
            return []

    def _ask(self, method: str, path: str, body: object = None) -> object:
        user, _, password = (self.auth or "").partition(":")
        try:
            # Loopback: a proxy from the environment has no business here.
            with httpx.Client(timeout=TIMEOUT_SECONDS, trust_env=False) as client:
                answer = client.request(
                    method, f"{self.url}{path}", json=body, auth=(user, password) if self.auth else None
                )
                return answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError):
            return None
