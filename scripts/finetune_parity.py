#!/usr/bin/env python3
"""Writes the losses of short trainings with Hugging Face PEFT, which a test of adapters/tune compares with peft's own.

    scripts/finetune_parity.py MODEL.gguf TEXT OUT.json [METHOD…]

The base is the GGUF file's weights in f32. Each method trains 20 steps of 2 sequences of 64 tokens, the first of TEXT, in
order, by AdamW with a constant learning rate and without weight decay or clipping. LoRA's A begins with numbers that init()
computes from their places; all else begins as PEFT has it. OUT.json gets the tokens and, for each method, its options and
losses.

Made with torch 2.9.0, transformers 5.23 and peft 0.21.2 on a CPU.
"""

import json
import os
import re
import sys

import numpy as np
import torch
from peft import IA3Config, LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, AutoTokenizer

STEPS, SEQUENCES, LENGTH = 20, 2, 64
BETAS = (0.9, 0.999)


def init(block, site, shape):
    """Uniform between ±1/√in: splitmix64 of each value's place, counted over block, site and then rows."""
    n = shape[0] * shape[1]
    with np.errstate(over="ignore"):
        z = (np.uint64(2 * block + site) << np.uint64(32)) + np.arange(1, n + 1, dtype=np.uint64)
        z = z * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        z = z ^ (z >> np.uint64(31))
    u = (z >> np.uint64(11)).astype(np.float64) / 2**53
    return torch.tensor(((2 * u - 1) / np.sqrt(shape[1])).astype(np.float32).reshape(shape))


def lora(dora=False, rslora=False):
    return LoraConfig(task_type="CAUSAL_LM", r=8, lora_alpha=16, lora_dropout=0.0, target_modules=["q_proj", "v_proj"], use_dora=dora, use_rslora=rslora)


METHODS = {
    "lora": (1e-3, lambda: lora()),
    "rslora": (1e-3, lambda: lora(rslora=True)),
    "dora": (1e-3, lambda: lora(dora=True)),
    "ia3": (1e-2, lambda: IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"])),
}


def train(path, ids, lr, config):
    folder, name = os.path.split(path)
    torch.manual_seed(0)
    torch.set_num_threads(1)  # the same sums on every machine
    model = get_peft_model(AutoModelForCausalLM.from_pretrained(folder, gguf_file=name, dtype=torch.float32), config)
    for key, value in model.named_parameters():
        if ".lora_A." in key:
            block = int(re.search(r"layers\.(\d+)\.", key)[1])
            with torch.no_grad():
                value.copy_(init(block, int("v_proj" in key), tuple(value.shape)))
    model.train()
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=lr, betas=BETAS, eps=1e-8, weight_decay=0.0)
    losses = []
    for step in range(STEPS):
        batch = torch.tensor(ids[step])
        loss = model(input_ids=batch, labels=batch).loss
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    return losses


def main(path, text, out, *methods):
    folder, name = os.path.split(path)
    tokenizer = AutoTokenizer.from_pretrained(folder, gguf_file=name)
    with open(text, encoding="utf-8") as f:
        ids = tokenizer(f.read(40000), add_special_tokens=False)["input_ids"][: STEPS * SEQUENCES * LENGTH]
    ids = np.array(ids).reshape(STEPS, SEQUENCES, LENGTH).tolist()
    runs = {}
    if methods and os.path.exists(out):
        with open(out, encoding="utf-8") as f:
            runs = json.load(f)["runs"]
    for method in methods or METHODS:
        lr, config = METHODS[method]
        runs[method] = {"lr": lr, "losses": train(path, ids, lr, config())}
        print(method, runs[method]["losses"], file=sys.stderr)
    with open(out, "w", encoding="utf-8") as f:
        f.write('{"beta1": %g, "beta2": %g,\n "runs": {\n  ' % BETAS)
        f.write(",\n  ".join('"%s": %s' % (k, json.dumps(v)) for k, v in runs.items()))
        f.write("\n },\n \"tokens\": %s}\n" % json.dumps(ids, separators=(",", ":")))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
