"""Makes the reference files of package exchange's tests: pip install torch transformers peft gguf safetensors.

base/: a small Llama, gpt2-base/: a small GPT-2. Each other directory: an adapter for one of them, for GPT-2 where its name
begins so, that Hugging Face PEFT saved, with the logits that PEFT computes in reference.json. lora-list.gguf: the adapter of lora-list as llama.cpp's convert_lora_to_gguf writes it.
"""
import json
import pathlib
import shutil

import gguf
import numpy as np
import torch
from peft import IA3Config, LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM

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


def base(adapter):
    return AutoModelForCausalLM.from_pretrained(here / ("gpt2-base" if adapter.startswith("gpt2") else "base"), dtype=torch.float32).eval()


def logits(model):
    with torch.no_grad():
        return [round(v, 6) for v in model(torch.tensor([IDS])).logits[0].flatten().tolist()]


def adapter(name, config, dtype=torch.float32, **options):
    """Saves an adapter with random weights; options replace what PEFT wrote in its configuration."""
    torch.manual_seed(sum(name.encode()))
    model = get_peft_model(base(name), config)
    for n, p in model.named_parameters():
        if "lora_magnitude" in n or "ia3_l" in n:
            p.data *= 1 + 0.3 * torch.randn_like(p)
        elif "lora_" in n:
            p.data = (0.3 * torch.randn_like(p)).to(dtype)
    save(model, name)
    file = here / name / "adapter_config.json"
    c = json.loads(file.read_text())
    file.write_text(json.dumps({**c, "base_model_name_or_path": "tiny", **options}, indent=1) + "\n")
    again = PeftModel.from_pretrained(base(name), here / name).eval()
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

torch.manual_seed(2)
gpt2 = GPT2LMHeadModel(GPT2Config(vocab_size=61, n_embd=16, n_layer=2, n_head=4, n_positions=64))
for p in gpt2.parameters():
    p.data = (p.data + 0.25 * torch.randn_like(p)).half()
save(gpt2.half(), "gpt2-base")

# c_proj is two layers of other widths; the last name alone does not tell them apart.
adapter("gpt2-lora", LoraConfig(r=2, lora_alpha=6, target_modules=["c_attn", "c_fc", "c_proj"], rank_pattern={"attn.c_proj": 3, "0.attn.c_attn": 4},
                                alpha_pattern={"mlp.c_proj": 5}, fan_in_fan_out=True, **CAUSAL))
adapter("gpt2-attn", LoraConfig(r=3, lora_alpha=4, target_modules="c_attn|transformer.h.1.attn.c_(attn|proj)", use_rslora=True, **CAUSAL))
adapter("gpt2-dora", LoraConfig(r=2, lora_alpha=6, use_dora=True, target_modules="all-linear", fan_in_fan_out=True, **CAUSAL))
adapter("gpt2-ia3", IA3Config(target_modules=["c_attn", "mlp.c_proj"], feedforward_modules=["mlp.c_proj"], **CAUSAL))
adapter("gpt2-ia3-input", IA3Config(target_modules=["attn.c_attn", "attn.c_proj"], feedforward_modules=["attn.c_attn"], **CAUSAL))


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
