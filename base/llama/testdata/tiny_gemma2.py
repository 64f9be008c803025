#!/usr/bin/env python3
"""Makes tiny-gemma2: a random model of two layers and what transformers computes with it in f32.

    pip install torch transformers
    ./tiny_gemma2.py
"""

import json
import pathlib

import torch
from transformers import Gemma2Config, Gemma2ForCausalLM

out = pathlib.Path(__file__).parent / "tiny-gemma2"
torch.manual_seed(7)
config = Gemma2Config(
    vocab_size=96,
    hidden_size=32,
    intermediate_size=64,
    num_hidden_layers=2,
    num_attention_heads=4,
    num_key_value_heads=2,
    head_dim=16,
    max_position_embeddings=128,
    query_pre_attn_scalar=12,
    sliding_window=8,
    attn_logit_softcapping=2.0,
    final_logit_softcapping=3.0,
    attn_implementation="eager",
)
model = Gemma2ForCausalLM(config).float().eval()
with torch.no_grad():
    for name, p in model.named_parameters():
        p.copy_(torch.randn_like(p) * (0.2 if "norm" in name else 1.5 / p.shape[-1] ** 0.5))
model.save_pretrained(out)

ids = torch.randint(0, config.vocab_size, (1, 40))
with torch.no_grad():
    r = model(ids, labels=ids)
reference = {
    "ids": ids[0].tolist(),
    "mean_nll": r.loss.item(),
    "last_logits": [round(v, 6) for v in r.logits[0, -1].tolist()],
    "first_logits": [round(v, 6) for v in r.logits[0, 0].tolist()],
}
(out / "reference.json").write_text(json.dumps(reference) + "\n")
(out / "generation_config.json").unlink(missing_ok=True)
