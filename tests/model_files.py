"""Model folders without a model: a few small tensors and the texts around them."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

TENSORS = {"model.embed_tokens.weight": (64, 256), "model.layers.0.mlp.down_proj.weight": (96, 128)}


def write_model(folder: Path, *, seed: int = 0, tensors: Mapping[str, tuple[int, ...]] = TENSORS) -> Path:
    """Write a folder as `save_pretrained` does; equal seeds give equal weights."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text('{"hidden_size": 256}')
    (folder / "generation_config.json").write_text('{"eos_token_id": 2, "temperature": 0.6}')
    (folder / "vocab.json").write_text('{"a": 0}')
    (folder / "README.md").write_text("# A model")
    write_safetensors(folder / "model.safetensors", tensors, seed=seed)
    return folder


def write_adapter(folder: Path, *, seed: int = 0) -> Path:
    """Write the folder of a LoRA adapter."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapter_config.json").write_text('{"r": 8}')
    write_safetensors(folder / "adapter_model.safetensors", {"q_proj.lora_A.weight": (8, 256)}, seed=seed)
    return folder


def write_safetensors(path: Path, tensors: Mapping[str, tuple[int, ...]], *, seed: int = 0) -> None:
    """Write bf16 tensors of the given shapes; the values are nonsense that depends on the seed."""
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    data = b""
    for number, (name, shape) in enumerate(tensors.items()):
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [len(data), len(data) + size]}
        data += bytes((7 * place + 31 * number + 101 * seed) % 251 for place in range(size))
    written = json.dumps(header).encode()
    path.write_bytes(len(written).to_bytes(8, "little") + written + data)


def flip_byte(path: Path, place: int) -> None:
    """Change one byte; a negative place counts from the end."""
    data = bytearray(path.read_bytes())
    data[place] ^= 0x10
    path.write_bytes(data)
