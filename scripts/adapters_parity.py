#!/usr/bin/env python3
"""Checks what other programs compute with adapters and models that peft wrote.

    scripts/adapters_parity.py JOBS.json

JOBS.json is a list of jobs, made by the tests TestOtherPrograms of adapters/exchange and cmd/peft:

    {"name": "…", "tool": "peft" | "llama.cpp" | "convert", "base": PATH, "adapter": PATH or "", "ids": [token, …],
     "logits": [what peft computes for the last token], "tolerance": 1e-3}

peft loads the base with transformers and the adapter with Hugging Face PEFT; llama.cpp loads GGUF files; convert writes the
PEFT directory "adapter" to the file "out" as llama.cpp's convert_lora_to_gguf does. Where a Python package is missing, its
jobs are left out. Exit code 0 when every difference is within its tolerance.
"""

import importlib.util
import json
import sys


def with_peft(job):
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(job["base"], dtype=torch.float32)
    if job["adapter"]:
        model = PeftModel.from_pretrained(model, job["adapter"])
    with torch.no_grad():
        return model.eval()(torch.tensor([job["ids"]])).logits[0, -1].tolist()


def with_llamacpp(job):
    from llama_cpp import Llama

    f32 = 0  # the type of keys and values
    llm = Llama(model_path=job["base"], lora_path=job["adapter"] or None, n_ctx=512, n_threads=2, type_k=f32, type_v=f32, verbose=False)
    llm.eval(job["ids"])
    return list(llm._ctx.get_logits()[: llm.n_vocab()])


def convert(job):
    import gguf
    from safetensors.numpy import load_file

    with open(job["adapter"] + "/adapter_config.json") as f:
        config = json.load(f)
    with open(job["base"] + "/config.json") as f:
        model = json.load(f)
    heads = {"q_proj": model["num_attention_heads"], "k_proj": model["num_key_value_heads"]}
    names = {"q_proj": "attn_q", "k_proj": "attn_k", "v_proj": "attn_v", "o_proj": "attn_output",
             "gate_proj": "ffn_gate", "up_proj": "ffn_up", "down_proj": "ffn_down"}
    w = gguf.GGUFWriter(job["out"], "llama")
    w.add_type(gguf.GGUFType.ADAPTER)
    w.add_string(gguf.Keys.Adapter.TYPE, "lora")
    w.add_float32(gguf.Keys.Adapter.LORA_ALPHA, config["lora_alpha"])
    for name, t in load_file(job["adapter"] + "/adapter_model.safetensors").items():
        _, _, _, _, block, _, layer, kind, _ = name.split(".")
        if kind == "lora_B" and layer in heads:
            t = t.reshape(heads[layer], 2, -1, t.shape[1]).swapaxes(1, 2).reshape(t.shape)
        w.add_tensor(f"blk.{block}.{names[layer]}.weight.{kind.lower()}", t)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


TOOLS = {"peft": ("peft", with_peft), "llama.cpp": ("llama_cpp", with_llamacpp), "convert": ("gguf", convert)}


def main():
    with open(sys.argv[1]) as f:
        jobs = json.load(f)
    bad = 0
    for job in jobs:
        package, run = TOOLS[job["tool"]]
        what = f"{job['name']} in {job['tool']}"
        if importlib.util.find_spec(package) is None:
            print(f"left out {what}: no Python package {package}")
            continue
        logits = run(job)
        if logits is None:
            print(f"done     {what}")
            continue
        if len(logits) != len(job["logits"]):
            sys.exit(f"{what}: {len(logits)} logits, want {len(job['logits'])}")
        largest = max(abs(a - b) for a, b in zip(logits, job["logits"]))
        ok = largest <= job["tolerance"]  # not for NaN
        bad += not ok
        print(f"{'equal   ' if ok else 'DIFFERS '} {what}: logits at most {largest:.2g} apart, {job['tolerance']:g} allowed")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
