"""Makes the reference files of package exchange's tests: pip install torch transformers peft gguf safetensors.

base/: a small Llama. Each other directory: an adapter for it that Hugging Face PEFT saved, with the logits that PEFT computes
in reference.json. lora-list.gguf: the adapter of lora-list as llama.cpp's convert_lora_to_gguf writes it.
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import LlamaConfig, LlamaForCausalLM

here = pathlib.Path(__file__).parent
IDS = [(i * i * 7 + i * 3 + 5) % 61 for i in range(11)]
CAUSAL = {"task_type": "CAUSAL_LM"}


def save(model, directory):
    shutil.rmtree(here / directory, ignore_errors=True)
    model.save_pretrained(here / directory)
    for name in ["README.md", "generation_config.json"]:
        (here / directory / name).unlink(missing_ok=True)
    for file in (here / directory).iterdir():
        file.chmod(0o644)


def base():
    return LlamaForCausalLM.from_pretrained(here / "base", dtype=torch.float32).eval()


def logits(model):
    with torch.no_grad():
        return [round(v, 6) for v in model(torch.tensor([IDS])).logits[0].flatten().tolist()]


def adapter(name, config, dtype=torch.float32, **options):
    """Saves an adapter with random weights; options replace what PEFT wrote in its configuration."""
    torch.manual_seed(sum(name.encode()))
    model = get_peft_model(base(), config)
    for n, p in model.named_parameters():
        if "lora_magnitude" in n or "ia3_l" in n:
            p.data *= 1 + 0.3 * torch.randn_like(p)
        elif "lora_" in n:
            p.data = (0.3 * torch.randn_like(p)).to(dtype)
    save(model, name)
    file = here / name / "adapter_config.json"
    c = json.loads(file.read_text())
    file.write_text(json.dumps({**c, "base_model_name_or_path": "tiny", **options}, indent=1) + "\n")
    again = PeftModel.from_pretrained(base(), here / name).eval()
    (here / name / "reference.json").write_text(json.dumps({"ids": IDS, "logits": logits(again)}) + "\n")


torch.manual_seed(1)
llama = LlamaForCausalLM(LlamaConfig(
    vocab_size=61, hidden_size=16, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2, head_dim=4, intermediate_size=24,
    max_position_embeddings=64, tie_word_embeddings=True))
for p in llama.parameters():
    p.data = (p.data + 0.25 * torch.randn_like(p)).half()
save(llama.half(), "base")

adapter("lora-list", LoraConfig(r=4, lora_alpha=8, target_modules=["q_proj", "k_proj", "v_proj"], **CAUSAL))
adapter("lora-regex", LoraConfig(r=3, lora_alpha=7, target_modules=r"model\.layers\.(?!0\b)\d+\..*(gate|q)_proj", **CAUSAL))
patterns = {"r": 2, "lora_alpha": 3, "use_rslora": True, "exclude_modules": ["1.self_attn.o_proj"],
            "rank_pattern": {"1.mlp.down_proj": 1, "^model.*down_proj": 4, "q_proj": 3}, "alpha_pattern": {"down_proj": 2, "model.layers.0.*": 5}}
adapter("lora-patterns", LoraConfig(target_modules="all-linear", **patterns, **CAUSAL), target_modules="all-linear")
adapter("lora-layers", LoraConfig(r=2, target_modules=["o_proj", "up_proj"], layers_to_transform=[1], layers_pattern="layers", **CAUSAL), torch.float16)
adapter("dora", LoraConfig(r=2, lora_alpha=6, use_dora=True, target_modules="all-linear", **CAUSAL))
adapter("ia3", IA3Config(target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"], **CAUSAL))
adapter("ia3-regex", IA3Config(target_modules=".*[0](.*)(q|up|o)_proj", feedforward_modules=".*(up|o)_proj", **CAUSAL))


def permute(w, heads):
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


w = gguf.GGUFWriter(str(here / "lora-list.gguf"), "llama")
w.add_type(gguf.GGUFType.ADAPTER)
w.add_string(gguf.Keys.Adapter.TYPE, "lora")
w.add_float32(gguf.Keys.Adapter.LORA_ALPHA, 8.0)
w.add_string("general.name", "tiny")
for name, t in sorted(load_file(here / "lora-list" / "adapter_model.safetensors").items()):
    _, _, _, _, block, _, layer, kind, _ = name.split(".")
    t = t.numpy()
    if kind == "lora_B" and layer != "v_proj":
        t = permute(t, {"q_proj": 4, "k_proj": 2}[layer])
    kind_type = np.float32 if block == "0" else np.float16
    w.add_tensor(f"blk.{block}.attn_{layer[0]}.weight.{kind.lower()}", t.astype(kind_type))
w.write_header_to_file()
w.write_kv_data_to_file()
w.write_tensors_to_file()
w.close()
