#!/usr/bin/env python3
"""Checks that llama.cpp loads a GGUF file and continues prompts as peft does.

    pip install llama-cpp-python
    go build -o peft ./cmd/peft
    scripts/llamacpp_parity.py [--peft ./peft] [--model base/builtin/model/base.gguf]

For every prompt the token ids must be equal and the greedy continuations must be equal. Exit code 0 when all are, 1 when
one is not. It is not part of the tests because the Python package is built from source.
"""

import argparse
import json
import subprocess
import sys

from llama_cpp import Llama

PROMPTS = [
    "<|endoftext|>",
    "Package bufio implements",
    "func (b *Buffer) Write(p []byte) (n int, err error)\n\nWrite",
    "Question: What does strings.TrimSpace do?\nAnswer:",
    "The garbage collector",
    "If the file does not exist,",
    "// ReadAll reads from r until an error or EOF",
    "Ünïcödé, 1234567 and \t tabs  — 'don't' 日本語",
]

GGML_TYPE_F32 = 0  # of the key and value cache, so that both sides compute with the same values


def peft_run(binary, model, *args):
    cmd = [binary, "--base", model, "--json", *args]
    out = subprocess.run(cmd, capture_output=True, text=True, check=False)
    if out.returncode != 0:
        sys.exit(f"{' '.join(cmd)}: exit code {out.returncode}\n{out.stderr}")
    return json.loads(out.stdout.splitlines()[-1])


def greedy(llm, ids, count):
    """Greedy continuation and, for every token of it, how far the second-best logit was behind."""
    out, gaps = [], []
    llm.reset()
    llm.eval(ids)
    while len(out) < count:
        logits = llm._ctx.get_logits()[: llm.n_vocab()]
        best = max(range(len(logits)), key=logits.__getitem__)
        if best == llm.token_eos():
            break
        second = max(v for i, v in enumerate(logits) if i != best)
        out.append(best)
        gaps.append(logits[best] - second)
        llm.eval([best])
    return out, gaps


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--peft", default="./peft")
    p.add_argument("--model", default="base/builtin/model/base.gguf")
    p.add_argument("--tokens", type=int, default=48)
    p.add_argument("prompts", nargs="*", default=PROMPTS)
    a = p.parse_args()

    llm = Llama(model_path=a.model, n_ctx=512, n_threads=2, type_k=GGML_TYPE_F32, type_v=GGML_TYPE_F32, verbose=False)
    bad = 0
    for prompt in a.prompts:
        ids = llm.tokenize(prompt.encode(), add_bos=False, special=True)
        ours = peft_run(a.peft, a.model, "logits", "--text", prompt)["token_ids"]
        if ids != ours:
            bad += 1
            print(f"DIFFERS {prompt!r}: llama.cpp reads {ids}, peft {ours}")
            continue
        want, gaps = greedy(llm, ids, a.tokens)
        got = peft_run(a.peft, a.model, "generate", prompt, "--max-tokens", str(a.tokens), "--temperature", "0")["token_ids"]
        if want == got:
            print(f"equal   {prompt!r}: {len(ids)} + {len(want)} tokens")
            continue
        bad += 1
        at = next((i for i, (x, y) in enumerate(zip(want, got)) if x != y), min(len(want), len(got)))
        gap = f"{gaps[at]:.4f}" if at < len(gaps) else "unknown"
        print(f"DIFFERS {prompt!r}: at token {at}, where llama.cpp's best two logits are {gap} apart")
        print(f"  llama.cpp {llm.detokenize(want).decode(errors='replace')!r}\n  peft      {llm.detokenize(got).decode(errors='replace')!r}")
    print(f"{len(a.prompts) - bad} of {len(a.prompts)} prompts equal")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
