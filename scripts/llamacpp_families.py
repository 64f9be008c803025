#!/usr/bin/env python3
"""Checks that peft reads GGUF files of every family as llama.cpp does.

    pip install llama-cpp-python gguf safetensors numpy
    go build -o peft ./cmd/peft
    scripts/llamacpp_families.py [--peft ./peft] DIRECTORY… [--tokenizers FILE…]

Every directory has a tiny model as Hugging Face transformers saves it (config.json, model.safetensors). It is written as
GGUF by the gguf package, whose names are llama.cpp's own, with a tokenizer of single characters; then the tokens of a text,
its mean negative log-likelihood and the largest logits at its end must agree. Files are those of
base/tokenizer/testdata with vocabularies in SentencePiece's manner, llama-2.json and gemma.json, whose references llama.cpp
must give too. Exit code 0 when all agree. It is not part of the tests because the Python package is built from source.
"""

import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile

import gguf
import numpy as np
from llama_cpp import Llama
from safetensors.numpy import load_file

TEXT = "To be, or not to be: that is the question. Whether 'tis nobler in the mind to suffer"
ARCHS = {"llama": "llama", "mistral": "llama", "qwen2": "qwen2", "qwen3": "qwen3", "gemma2": "gemma2", "gpt2": "gpt2"}
F32 = 0  # GGML_TYPE_F32, of the key and value cache


def permuted(w, heads):
    """Rows of a head's two halves side by side, as llama.cpp has them."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, w.shape[1]).swapaxes(1, 2).reshape(w.shape)


def write(directory, path):
    config = json.loads((directory / "config.json").read_text())
    kind = config["model_type"]
    arch = ARCHS[kind]
    get = lambda *names: next(config[n] for n in names if config.get(n) is not None)
    heads, hidden, layers = get("num_attention_heads", "n_head"), get("hidden_size", "n_embd"), get("num_hidden_layers", "n_layer")
    kv = config.get("num_key_value_heads") or heads
    head = config.get("head_dim") or hidden // heads
    w = gguf.GGUFWriter(path, arch)
    w.add_context_length(get("max_position_embeddings", "n_positions"))
    w.add_embedding_length(hidden)
    w.add_block_count(layers)
    w.add_feed_forward_length(config.get("intermediate_size") or config.get("n_inner") or 4 * hidden)
    w.add_head_count(heads)
    if arch == "gpt2":
        w.add_layer_norm_eps(config["layer_norm_epsilon"])
    else:
        rope = config["rope_parameters"]
        w.add_head_count_kv(kv)
        w.add_key_length(head)
        w.add_value_length(head)
        w.add_layer_norm_rms_eps(config["rms_norm_eps"])
        w.add_rope_freq_base(rope["rope_theta"])
        w.add_rope_dimension_count(head)
        if rope["rope_type"] == "llama3":
            wave = 2 * math.pi * rope["rope_theta"] ** (np.arange(0, head, 2) / head)
            low, high, old = rope["low_freq_factor"], rope["high_freq_factor"], rope["original_max_position_embeddings"]
            smooth = np.clip((old / wave - low) / (high - low), 0, 1)
            w.add_tensor("rope_freqs.weight", (1 / ((1 - smooth) / rope["factor"] + smooth)).astype(np.float32))
    if arch == "gemma2":
        w.add_sliding_window(config["sliding_window"])
        w.add_attn_logit_softcapping(config["attn_logit_softcapping"])
        w.add_final_logit_softcapping(config["final_logit_softcapping"])
    names = gguf.get_tensor_name_map({v: k for k, v in gguf.MODEL_ARCH_NAMES.items()}[arch], layers)
    for name, x in load_file(directory / "model.safetensors").items():
        if arch == "llama" and name.endswith(("q_proj.weight", "k_proj.weight")):
            x = permuted(x, heads if "q_proj" in name else kv)
        if arch == "gpt2" and x.ndim == 2 and ".h." in name:
            x = x.T
        if arch == "gemma2" and name.endswith("norm.weight"):
            x = x + 1
        w.add_tensor(names.get_name(name, try_suffixes=(".weight", ".bias")), np.ascontiguousarray(x, dtype=np.float32))
    # a token a byte, one left out for the merge without which it is no byte-pair encoding
    chars = [chr(c) for c in range(33, 127)] + ["Ġ"]
    chars += [chr(c) for c in range(0x100, 0x1FF)][: config["vocab_size"] - len(chars) - 1]
    chars = list(dict.fromkeys(chars))
    tokens = (chars + ["ab"] + [f"<unused{i}>" for i in range(config["vocab_size"])])[: config["vocab_size"]]
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(tokens)
    w.add_token_types([1] * len(tokens))
    w.add_token_merges(["a b"])
    w.add_eos_token_id(tokens.index("~"))
    w.add_bos_token_id(tokens.index("~"))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def tokenizer(file, path):
    """How many of the file's references llama.cpp gives otherwise."""
    data = json.loads(file.read_text())
    vocab = data["tokenizer"]["model"]["vocab"]
    tokens = sorted(vocab, key=vocab.get)
    w = gguf.GGUFWriter(path, "llama")
    for add in (w.add_context_length, w.add_embedding_length, w.add_block_count, w.add_feed_forward_length, w.add_head_count):
        add(1)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_tokenizer_model("llama")
    w.add_token_list(tokens)
    w.add_token_scores([-float(i) for i in range(len(tokens))])
    w.add_token_types([2, 3] + [6] * 256 + [1] * (len(tokens) - 258))
    w.add_unk_token_id(0)
    w.add_add_space_prefix(data["tokenizer"]["normalizer"]["type"] == "Sequence")
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    llm = Llama(model_path=str(path), vocab_only=True, verbose=False)
    return sum(llm.tokenize(c["text"].encode(), add_bos=False, special=True) != c["ids"] for c in data["reference"])


def llamacpp(path):
    llm = Llama(model_path=str(path), n_ctx=128, n_threads=1, type_k=F32, type_v=F32, logits_all=True, verbose=False)
    ids = llm.tokenize(TEXT.encode(), add_bos=False, special=True)
    llm.eval(ids)
    x = np.array(llm.scores[: len(ids)], dtype=np.float64)
    log = x - np.log(np.exp(x - x.max(1, keepdims=True)).sum(1, keepdims=True)) - x.max(1, keepdims=True)
    return ids, -log[np.arange(len(ids) - 1), ids[1:]].mean(), x[-1]


def peft(binary, path):
    cmd = [binary, "--base", str(path), "--json", "logits", "--text", TEXT, "--top", "20"]
    out = subprocess.run(cmd, capture_output=True, text=True, check=False)
    if out.returncode != 0:
        sys.exit(f"{' '.join(cmd)}: exit code {out.returncode}\n{out.stderr}")
    r = json.loads(out.stdout.splitlines()[-1])
    return r["token_ids"], r["mean_nll"], r["top"]


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peft", default="./peft")
    p.add_argument("--tolerance", type=float, default=5e-3, help="of logits; llama.cpp takes GELU from a table of half precision")
    p.add_argument("--tokenizers", nargs="*", default=[], type=pathlib.Path)
    p.add_argument("directories", nargs="*", type=pathlib.Path)
    a = p.parse_args()
    bad = 0
    for d in a.directories:
        with tempfile.TemporaryDirectory() as tmp:
            path = pathlib.Path(tmp) / "model.gguf"
            write(d, path)
            ids, nll, last = llamacpp(path)
            ours, our_nll, top = peft(a.peft, path)
        if ids != ours:
            bad += 1
            print(f"DIFFERS {d.name}: llama.cpp reads {ids}, peft {ours}")
            continue
        off = max(abs(last[t["id"]] - t["logit"]) for t in top)
        ok = off <= a.tolerance and abs(nll - our_nll) <= a.tolerance
        bad += not ok
        print(f"{'equal  ' if ok else 'DIFFERS'} {d.name}: {len(ids)} tokens, NLL {nll:.5f} and {our_nll:.5f}, logits within {off:.1e}")
    for f in a.tokenizers:
        with tempfile.TemporaryDirectory() as tmp:
            wrong = tokenizer(f, pathlib.Path(tmp) / "model.gguf")
        bad += wrong > 0
        print(f"{'DIFFERS' if wrong else 'equal  '} {f.name}: {wrong} references otherwise")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
