"""An NVML library that is none: GPUs that are set, and fail when told to."""

import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import TypeVar

T = TypeVar("T")

GIB = 2**30


class NVMLError(Exception):
    """What all functions raise."""


@dataclass(kw_only=True)
class FakeGPU:
    """One GPU; a field that is an NVMLError is raised in place of an answer."""

    name: str | bytes = "NVIDIA Fake 80GB"
    used: int | NVMLError = 8 * GIB
    total: int = 80 * GIB
    busy: int | NVMLError = 50
    heat: int | NVMLError = 61
    mig: int | NVMLError = field(default_factory=lambda: NVMLError("Not Supported"))
    pids: list[int] | NVMLError = field(default_factory=list[int])


@dataclass(kw_only=True)
class FakeNVML:
    """The GPUs, what fails, and how often what was called."""

    gpus: list[FakeGPU] = field(default_factory=list[FakeGPU])
    init_error: NVMLError | None = None
    count_error: NVMLError | None = None
    calls: Counter[str] = field(default_factory=Counter[str])
    threads: set[str] = field(default_factory=set[str])
    before_memory: Callable[[], object] = lambda: None
    """Called whenever memory is asked for."""

    @property
    def is_open(self) -> bool:
        """Whether there were more beginnings than ends."""
        return self.calls["init"] > self.calls["shutdown"]

    def library(self) -> SimpleNamespace:
        """Return what stands in for pynvml."""
        return SimpleNamespace(
            NVMLError=NVMLError,
            NVML_TEMPERATURE_GPU=0,
            nvmlInit=self._init,
            nvmlShutdown=self._shutdown,
            nvmlDeviceGetCount=self._count,
            nvmlDeviceGetHandleByIndex=self._handle,
            nvmlDeviceGetName=self._name,
            nvmlDeviceGetMemoryInfo=self._memory,
            nvmlDeviceGetUtilizationRates=self._rates,
            nvmlDeviceGetTemperature=self._temperature,
            nvmlDeviceGetMigMode=self._mig_mode,
            nvmlDeviceGetComputeRunningProcesses=self._processes,
        )

    def _init(self) -> None:
        self.threads.add(threading.current_thread().name)
        if self.init_error:
            self.calls["refused"] += 1
            raise self.init_error
        self.calls["init"] += 1

    def _shutdown(self) -> None:
        self._of_open(None)
        self.calls["shutdown"] += 1

    def _count(self) -> int:
        if self.count_error:
            raise self.count_error
        return self._of_open(len(self.gpus))

    def _memory(self, gpu: FakeGPU) -> SimpleNamespace:
        self.before_memory()
        used = self._of_open(gpu.used)
        return SimpleNamespace(used=used, total=gpu.total, free=gpu.total - used)

    def _handle(self, index: int) -> FakeGPU:
        return self._of_open(self.gpus[index])

    def _name(self, gpu: FakeGPU) -> str | bytes:
        return self._of_open(gpu.name)

    def _rates(self, gpu: FakeGPU) -> SimpleNamespace:
        return SimpleNamespace(gpu=self._of_open(gpu.busy))

    def _temperature(self, gpu: FakeGPU, sensor: int) -> int:
        assert sensor == 0
        return self._of_open(gpu.heat)

    def _mig_mode(self, gpu: FakeGPU) -> list[int]:
        return [self._of_open(gpu.mig), 0]

    def _processes(self, gpu: FakeGPU) -> list[SimpleNamespace]:
        return [SimpleNamespace(pid=pid) for pid in self._of_open(gpu.pids)]

    def _of_open(self, value: T | NVMLError) -> T:
        if not self.is_open:
            raise NVMLError("Uninitialized")
        if isinstance(value, NVMLError):
            raise value
        return value
