from pathlib import Path

import pytest

from backends.serving.config import ServerConfig, command, cpu_binding, load
from backends.serving.errors import ConfigError

CONFIGS = Path(__file__).parents[3] / "configs" / "vllm"
PYTHON = Path("/env/bin/python")
NAMED = "model: m\nserved_model_name: n"


def written(folder: Path, text: str) -> Path:
    path = folder / "server.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def complaint(folder: Path, text: str) -> str:
    path = written(folder, text)
    with pytest.raises(ConfigError) as caught:
        load(path, models=Path("/models"), cpus=[0])
    message = str(caught.value)
    assert message.startswith(f"{path}: "), "the file is named"
    assert "\n" not in message, "one sentence"
    return message.removeprefix(f"{path}: ")


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    config = load(path, models=Path("/models"), cpus=[0, 1])
    assert "{" not in config.model + "".join(config.env.values()), "every placeholder is filled in"
    assert config.args["generation-config"] == "vllm", "a model's repository never decides how to sample"


def test_the_demonstration_uses_the_local_model_and_every_cpu() -> None:
    config = load(CONFIGS / "cpu.yaml", models=Path("/models"), cpus=[1, 0])
    assert config.model == "/models/smollm2-135m-instruct"
    assert config.env["VLLM_CPU_OMP_THREADS_BIND"] == "0,1"
    assert config.env["VLLM_CPU_KVCACHE_SPACE"] == "2", "numbers in env become the text that a process gets"


def test_many_cpus_are_left_to_vllm() -> None:
    assert cpu_binding(range(8)) == "0,1,2,3,4,5,6,7"
    assert cpu_binding(range(64)) == "auto"


def test_flags_become_words() -> None:
    config = ServerConfig(
        model="m",
        served_model_name="n",
        args={
            "enforce-eager": True,
            "enable-prefix-caching": False,
            "max-model-len": 8192,
            "gpu-memory-utilization": 0.5,
            "dtype": "float32",
            "lora-modules": ["a=/a", "b=/b"],
            "override-generation-config": {"top_k": 1},
        },
    )
    line = command(config, PYTHON, 8001)
    assert line[:3] == ["/env/bin/python", "-m", "vllm.entrypoints.openai.api_server"]
    flags = " ".join(line[3:])
    assert flags.startswith("--model m --served-model-name n --host 127.0.0.1 --port 8001 --enforce-eager ")
    assert "--no-enable-prefix-caching --max-model-len 8192 --gpu-memory-utilization 0.5" in flags
    assert "--dtype float32 --lora-modules a=/a b=/b" in flags
    assert line[-2:] == ["--override-generation-config", '{"top_k": 1}']


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("served_model_name: n", "field 'model' is missing."),
        (f"{NAMED}\nmodle: x", "unknown field 'modle'; known fields: model, "),
        (f"{NAMED}\nstart_seconds: soon", "field 'start_seconds': "),
        (f"{NAMED}\nargs: {{max-len: null}}", "field 'args.max-len': a flag takes text"),
        (f"{NAMED}\nargs: {{max_model_len: 1}}", "field 'args': 'max_model_len' is not a flag"),
        (f"{NAMED}\nargs: {{--dtype: auto}}", "field 'args': '--dtype' is not a flag"),
        (f"{NAMED}\nargs: {{port: 1}}", "field 'args': 'port' does not belong here"),
        ("model: '{home}/m'\nserved_model_name: n", "{home} is no placeholder; known ones: cpus, models."),
        ("model: m\n  served: n", "line 2: not YAML: "),
        ("- model", "not a mapping of fields; known fields: "),
    ],
)
def test_a_wrong_file_is_one_sentence_with_file_and_field(tmp_path: Path, text: str, message: str) -> None:
    assert complaint(tmp_path, text).startswith(message)


def test_a_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    written(tmp_path, NAMED)
    with pytest.raises(ConfigError, match=r"cpu\.yaml does not exist; configurations .*: server\."):
        load(tmp_path / "cpu.yaml", models=tmp_path, cpus=[0])
