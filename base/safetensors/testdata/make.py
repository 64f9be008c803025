"""Makes mixed.safetensors with Hugging Face's own package: pip install safetensors torch."""
import pathlib
import torch
from safetensors.torch import save_file


def values(n):
    return ((torch.arange(n) - n // 2).float() / torch.tensor(7.0))


save_file({
    "scalar": torch.tensor(2.5),
    "half": values(16500).half().reshape(3, 5500),
    "b.weight": values(6).reshape(2, 3),
    "brain": values(4).bfloat16(),
    "a.weight": values(300).reshape(10, 30),
    "none": torch.zeros(0, 3),
}, pathlib.Path(__file__).parent / "mixed.safetensors", metadata={"format": "pt"})
