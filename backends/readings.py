"""What the GPUs of this machine and the vLLM servers say of their memory at one moment."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GPUReading:
    """One GPU of this machine, whether this process may use it or not."""

    index: int
    """NVML's own, which `CUDA_VISIBLE_DEVICES` does not change."""
    name: str
    used_bytes: int
    total_bytes: int
    utilization: float | None = None
    """Share of the last moments in which it computed, from 0 to 1; None where it does not say."""
    temperature: float | None = None
    """In degrees Celsius; None where it does not say."""
    vllm_holds: bool | None = None
    """Whether a process of vLLM is on it; None where its processes cannot be told, as in a container."""

    @property
    def free_bytes(self) -> int:
        """Memory that nobody holds."""
        return max(0, self.total_bytes - self.used_bytes)

    @property
    def used_fraction(self) -> float:
        """Share of the memory that is held, from 0 to 1."""
        return self.used_bytes / self.total_bytes if self.total_bytes else 0.0


@dataclass(frozen=True, kw_only=True, slots=True)
class ServerReading:
    """One vLLM server."""

    server: str
    """Its address."""
    kv_cache_usage: float
    """Of the fullest of its engines, from 0 to 1: blocks of requests that are under way."""
    requests_waiting: int
    requests_running: int | None = None
    preemptions: int | None = None
    """Requests that had to give up their cache and start again, since the server started."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Readings:
    """All that could be read."""

    gpus: tuple[GPUReading, ...] = ()
    servers: tuple[ServerReading, ...] = ()

    def __bool__(self) -> bool:
        """Tell whether there is anything."""
        return bool(self.gpus or self.servers)


def gib(size: int) -> str:
    """Write a number of bytes in GiB.

    Examples:
        >>> gib(85_520_809_984)
        '79.6 GiB'
    """
    return f"{size / 2**30:.1f} GiB"
