"""The NVIDIA GPUs of this machine, as NVML tells of them; its calls block, and may do so for long."""

import contextlib
import importlib
import threading
from collections.abc import Callable
from pathlib import PurePath
from types import ModuleType, SimpleNamespace
from typing import Any, TypeVar

from backends.readings import GPUReading

T = TypeVar("T")

Library = ModuleType | SimpleNamespace
"""What has the functions of pynvml; of nvidia-ml-py, and not of the package that is called pynvml."""


class Devices:
    """Reads all GPUs; for one thread after the other.

    A GPU that fails is left out and the others are read; where NVML itself fails, it is begun anew with the
    next reading. On a machine where it never began it is tried no second time.

    Args:
        library: Stands in for nvidia-ml-py, which is imported with the first reading.

    Attributes:
        why_not: Why there are no readings, or not of all GPUs, in a sentence; empty if nothing is missing.
    """

    def __init__(self, library: Library | None = None) -> None:
        self.why_not = ""
        self._library = library
        self._is_open = False
        self._was_open = False
        self._is_closed = False
        self._turn = threading.Lock()

    def read(self) -> tuple[GPUReading, ...]:
        """Return a reading of each GPU that can be read; none after `close`."""
        with self._turn:
            if self._is_closed or not self._open():
                return ()
            return self._read()

    def close(self) -> None:
        """Let go of NVML."""
        with self._turn:
            self._is_closed = True
            self._shut()

    def _open(self) -> bool:
        if self._is_open:
            return True
        if self.why_not and not self._was_open:
            return False
        try:
            self._library = self._library or importlib.import_module("pynvml")
        except ImportError:
            self.why_not = "no GPU is watched: nvidia-ml-py is not installed"
            return False
        try:
            self._library.nvmlInit()
        except self._library.NVMLError as error:
            self.why_not = f"no GPU here: NVML, which comes with NVIDIA's driver, says {str(error)!r}"
            return False
        self._is_open = self._was_open = True
        return True

    def _shut(self) -> None:
        if self._library and self._is_open:
            self._is_open = False
            with contextlib.suppress(self._library.NVMLError):
                self._library.nvmlShutdown()

    def _read(self) -> tuple[GPUReading, ...]:
        nvml: Any = self._library
        found: list[GPUReading] = []
        missing: list[str] = []
        is_broken = False
        try:
            count = int(nvml.nvmlDeviceGetCount())
            for index in range(count):
                try:
                    handle = nvml.nvmlDeviceGetHandleByIndex(index)
                    if _is_divided(nvml, handle):
                        missing.append(f"GPU {index} is divided (MIG), and its parts are not read")
                    else:
                        found.append(_reading(nvml, handle, index))
                except nvml.NVMLError as error:
                    is_broken = True
                    missing.append(f"GPU {index} cannot be read: NVML says {str(error)!r}")
        except nvml.NVMLError as error:
            is_broken = True
            missing.append(f"no GPU can be read: NVML says {str(error)!r}")
        if is_broken and not found:
            self._shut()
        self.why_not = "; ".join(missing) if found or missing else "no GPU here: NVML sees none"
        return tuple(found)


def _reading(nvml: Any, handle: object, index: int) -> GPUReading:  # noqa: ANN401 - a module, or a fake
    name = nvml.nvmlDeviceGetName(handle)
    memory = nvml.nvmlDeviceGetMemoryInfo(handle)
    rates = _said(nvml, lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100)
    heat = _said(nvml, lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)))
    return GPUReading(
        index=index,
        name=name.decode(errors="replace") if isinstance(name, bytes) else str(name),
        used_bytes=int(memory.used),
        total_bytes=int(memory.total),
        utilization=rates,
        temperature=heat,
        vllm_holds=_vllm_holds(nvml, handle),
    )


def _said(nvml: Any, ask: Callable[[], T]) -> T | None:  # noqa: ANN401 - see above
    """Ask for what not every GPU tells, nor tells everybody."""
    try:
        return ask()
    except nvml.NVMLError:
        return None


def _is_divided(nvml: Any, handle: object) -> bool:  # noqa: ANN401 - see above
    mode = _said(nvml, lambda: nvml.nvmlDeviceGetMigMode(handle)[0])
    return mode == 1


def _vllm_holds(nvml: Any, handle: object) -> bool | None:  # noqa: ANN401 - see above
    processes = _said(
        nvml, lambda: [int(one.pid) for one in nvml.nvmlDeviceGetComputeRunningProcesses(handle)]
    )
    found = [_is_vllm(pid) for pid in processes or ()]
    if True in found:
        return True
    return None if not found or None in found else False


def _is_vllm(pid: int) -> bool | None:
    """Tell a process of vLLM by its command line; None where it cannot be seen.

    Those of a server call themselves `VLLM::EngineCore` and the like.
    """
    import psutil  # noqa: PLC0415 - takes long to import, and where no GPU is nobody needs it

    try:
        words = psutil.Process(pid).cmdline()
    except (psutil.Error, ValueError):
        return None
    own_name = bool(words) and words[0].startswith("VLLM::")
    return own_name or any(
        PurePath(word).name == "vllm" or word.startswith("vllm.entrypoints") for word in words
    )
