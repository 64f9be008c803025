"""One peer at one kind of work: prepares, says what it is, then measures once for every line it is told.

    worker.py KIND MODEL.gguf TEXT.txt THREADS

Prints one JSON object a line: first {"name"}, then {"value", ...} for each line read. The process is a peer's own, so
that its peak memory is too.
"""

import contextlib
import json
import os
import sys
import time

kind, model_path, text_path, threads = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
os.environ["OMP_NUM_THREADS"] = str(threads)
TOKENS = 1024  # of a training step, in sequences of 256


def text(n):
    with open(text_path, encoding="utf-8") as f:
        return f.read(n)


def llama():
    from llama_cpp import Llama, __version__

    m = Llama(model_path, n_ctx=1024, n_threads=threads, n_threads_batch=threads, verbose=False)
    ids = m.tokenize(text(20000).encode(), add_bos=False)

    def decode():
        m.reset()
        m.eval(ids[:16])
        start = time.perf_counter()
        for i in range(64):
            m.eval([ids[16 + i]])
        return 64 / (time.perf_counter() - start)

    def prefill():
        m.reset()
        start = time.perf_counter()
        m.eval(ids[:512])
        return 512 / (time.perf_counter() - start)

    return f"llama.cpp (llama-cpp-python {__version__})", {"decode": decode, "prefill": prefill}[kind]


def lora(dtype):
    import peft
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    directory, name = os.path.split(model_path)
    m = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name).to(dtype)
    tok = AutoTokenizer.from_pretrained(directory, gguf_file=name)
    m = peft.get_peft_model(m, peft.LoraConfig(r=8, lora_alpha=16, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    m.train()
    opt = torch.optim.AdamW([p for p in m.parameters() if p.requires_grad], lr=2e-3)
    ids = torch.tensor(tok(text(40000))["input_ids"])
    state = {"at": 0}

    def step():
        if state["at"] + TOKENS > len(ids):
            state["at"] = 0
        batch = ids[state["at"] : state["at"] + TOKENS].view(-1, 256)
        state["at"] += TOKENS
        loss = m(input_ids=batch, labels=batch).loss
        loss.backward()
        opt.step()
        opt.zero_grad(set_to_none=True)

    step()

    def measure():
        start = time.perf_counter()
        for _ in range(2):
            step()
        return 2 * TOKENS / (time.perf_counter() - start)

    return f"PEFT {peft.__version__}, torch {torch.__version__}, LoRA r=8 on q and v", measure


def peer(tokens):
    import torch
    from PEER_pytorch import PEER

    torch.set_num_threads(threads)
    torch.manual_seed(1)
    layer = PEER(576, heads=8, num_experts=1024 * 1024, num_experts_per_head=16, dim_key=64, non_competing_scores=False)
    layer.eval()

    def measure():
        batches = [torch.randn(1, tokens, 576) for _ in range(1 + 512 // tokens)]
        with torch.no_grad():
            layer(batches[0])
            start = time.perf_counter()
            for x in batches[1:]:
                layer(x)
        return (time.perf_counter() - start) / ((len(batches) - 1) * tokens) * 1e6

    return "PEER-pytorch, softmax, half queries of 64", measure


def faiss_index(ivf):
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(threads)
    rng = np.random.default_rng(1)
    n, d = 1024, 64
    keys = rng.standard_normal((2, n, d), dtype=np.float32)
    all_keys = np.empty((n, n, 2 * d), dtype=np.float32)
    all_keys[:, :, :d], all_keys[:, :, d:] = keys[0][:, None], keys[1][None]
    all_keys = all_keys.reshape(n * n, 2 * d)
    if ivf:
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(2 * d), 2 * d, 1024, faiss.METRIC_INNER_PRODUCT)
        index.train(all_keys[rng.permutation(n * n)[: 64 * 1024]])
        index.add(all_keys)
        index.nprobe = 8
    else:
        index = faiss.IndexFlatIP(2 * d)
        index.add(all_keys)

    def exact(q):  # by the sums of the halves
        s = (q[:, :d] @ keys[0].T)[:, :, None] + (q[:, d:] @ keys[1].T)[:, None, :]
        return np.argpartition(-s.reshape(len(q), -1), 16, axis=1)[:, :16]

    def measure():
        q = rng.standard_normal((256, 2 * d), dtype=np.float32)
        start = time.perf_counter()
        _, found = index.search(q, 16)
        took = time.perf_counter() - start
        recall = np.mean([len(set(a) & set(b)) / 16 for a, b in zip(found[:32], exact(q[:32]))])
        return took / len(q) * 1e6, {"recall": float(recall)}

    return f"faiss {faiss.__version__} " + ("IVF1024, nprobe 8" if ivf else "flat"), measure


def prepare():
    if kind in ("decode", "prefill"):
        return llama()
    if kind.startswith("finetune"):
        import torch

        return lora(torch.bfloat16 if kind == "finetune-bf16" else torch.float32)
    if kind.startswith("layer"):
        return peer(int(kind.split("-")[1]))
    if kind.startswith("topk"):
        return faiss_index(kind == "topk-ivf")
    sys.exit(f"no work {kind}")


def main():
    out = os.dup(1)  # libraries print too
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr), os.fdopen(out, "w", buffering=1) as answers:
        name, measure = prepare()
        print(json.dumps({"name": name}), file=answers)
        for _ in sys.stdin:
            value = measure()
            value, more = value if isinstance(value, tuple) else (value, {})
            print(json.dumps({"value": value, **more}), file=answers)


main()
