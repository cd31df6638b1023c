# Run by the Python of a vLLM environment, which has torch and transformers; the client's has neither.
# pyright: basic, reportMissingImports=false
"""Turn a folder with one GGUF file into a folder that vLLM serves: convert_gguf.py SOURCE TARGET.

Each line on standard output is a step that begins.
"""

import sys
from pathlib import Path


def convert(source: Path, target: Path) -> None:
    """Write the weights as safetensors in bfloat16, and the tokenizer, into `target`."""
    say("importing transformers")
    import torch  # noqa: PLC0415 - slow; the line above comes first
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig  # noqa: PLC0415

    gguf = next(source.glob("*.gguf")).name
    say("reading the tokenizer")
    tokenizer = AutoTokenizer.from_pretrained(source, gguf_file=gguf)
    say("unpacking the weights")
    # Quantised weights cannot be saved as safetensors: they are unpacked first.
    model = AutoModelForCausalLM.from_pretrained(
        source, gguf_file=gguf, dtype=torch.bfloat16, quantization_config=GgufConfig(dequantize=True)
    )
    say("writing the weights")
    model.save_pretrained(target)
    tokenizer.save_pretrained(target)


def say(step: str) -> None:
    """Tell the caller, at once, what happens next."""
    sys.stdout.write(f"{step}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    convert(Path(sys.argv[1]), Path(sys.argv[2]))
