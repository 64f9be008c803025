#!/usr/bin/env python3
"""Measures peft beside what its users would use instead, in alternating rounds, and writes docs/performance.md.

    bench/peers/setup.sh && .venv-peers/bin/python bench/peers/run.py MODEL.gguf TEXT.txt [--only WORK ...] [--rounds 7]

Peer and peft have the same file, threads and sizes. Each runs in a process of its own that waits while the other is
measured; a round is one measurement of each, and what counts is the median of the rounds' ratios. With --only the other
rows of docs/performance.json stay as they were, and one from another machine says so; with --only alone the page is written anew from them. registry,
grown-256 and grown-1 need no Python packages: peft is its own peer there.
"""

import argparse
import contextlib
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
RESULTS, PAGE, PLOT = ROOT / "docs/performance.json", ROOT / "docs/performance.md", ROOT / "docs/performance.svg"

LORA = ["--kind", "lora", "--rank", "8", "--targets", "q_proj,v_proj"]

# name: (what it is, unit, larger is better, the peer's work, peft's arguments, the ratio aimed at)
WORKS = {
    "decode": ("decode, batch 1, bare", "tokens/s", True, "decode", ["decode", "--only", "base"], 2.0),
    "decode-million": (
        "decode with the default layers and a set of 1,053,375 experts on, against bare", "tokens/s", True, "decode",
        ["decode", "--only", "set", "--sub-keys", "265"], 1.6),
    "prefill": ("prefill of 512 tokens", "tokens/s", True, "prefill", ["prefill", "--only", "base"], 3.5),
    "finetune-bf16": ("fine-tuning, steps of 4 × 256 tokens, bf16", "tokens/s", True, "finetune-bf16", ["finetune", "--data", "TEXT"], 1.8),
    "finetune-f32": (
        "the same, against the peer in f32", "tokens/s", True, "finetune-f32", ["finetune", "--data", "TEXT"], 4.5),
    "lora-bf16": ("the equal job, LoRA r=8 on q and v, bf16", "tokens/s", True, "finetune-bf16", ["finetune", "--data", "TEXT", *LORA], 1.6),
    "lora-f32": ("the same, against the peer in f32", "tokens/s", True, "finetune-f32", ["finetune", "--data", "TEXT", *LORA], 4.0),
    "layer-256": (
        "PEER layer of 1,048,576 experts, 256 tokens", "µs a token", False, "layer-256",
        ["retrieval", "--sub-keys", "1024", "--tokens", "256"], 5.0),
    "layer-1": (
        "the same layer, 1 token", "µs a token", False, "layer-1", ["retrieval", "--sub-keys", "1024", "--tokens", "1"], 12.0),
    "topk-flat": ("exact top 16 of 1,048,576 product keys", "µs a query", False, "topk-flat", ["topk"], 1.0),
    "topk-ivf": ("the same, against an inexact index", "µs a query", False, "topk-ivf", ["topk"], 1.0),
}

# What a work may cost at most, as a multiple of another work of peft's own.
# name: (what it is, unit, what the other is, the other's arguments, the work's, the most aimed at)
COSTS = {
    "grown-256": (
        "PEER layer of 1,048,576 experts, 256 tokens", "µs a token", "the same layer with 4,096 experts",
        ["retrieval", "--sub-keys", "64", "--tokens", "256"], ["retrieval", "--sub-keys", "1024", "--tokens", "256"], 2.5),
    "grown-1": (
        "the same, 1 token", "µs a token", "the same layer with 4,096 experts",
        ["retrieval", "--sub-keys", "64", "--tokens", "1"], ["retrieval", "--sub-keys", "1024", "--tokens", "1"], 2.5),
    "registry": (
        "add 1,048,576 experts (2.4 GB) to the registry", "s", "writing and syncing a plain file",
        ["registry", "--only", "file"], ["registry", "--only", "add"], 2.5),
}


class Process:
    """A program that measures once for every line it is told, and its peak memory."""

    def __init__(self, command):
        self.p = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        self.peak = 0

    def read(self):
        line = self.p.stdout.readline()
        if not line:
            sys.exit(f"{self.p.args}: ended with {self.p.wait()}")
        return json.loads(line)

    def measure(self):
        self.p.stdin.write("\n")
        self.p.stdin.flush()
        answer = self.read()
        with open(f"/proc/{self.p.pid}/status", encoding="ascii") as f:
            self.peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM")) // 1024
        return answer

    def end(self):
        self.p.stdin.close()
        try:
            self.p.wait(timeout=60)  # what it has on disk it removes
        except subprocess.TimeoutExpired:
            self.p.kill()
            self.p.wait()


def peft(binary, registry, args, bench):
    # One round more than is asked of it: it must be there still when its memory is read after the last one.
    return Process([
        binary, "--registry", registry, "--base", args.model, "--threads", str(args.threads), "--json",
        "bench", "--paced", "--rounds", str(args.rounds + 2), *(args.text if a == "TEXT" else a for a in bench)])


def alternate(a, b, rounds):
    """Measures a and b in turn and returns the pairs of answers; the first pair warms both up and is left out."""
    return [(a.measure(), b.measure()) for _ in range(rounds + 1)][1:]


def summary(pairs, ratio):
    pairs = [(a["value"], b["value"]) for a, b in pairs]
    ratios = sorted(ratio(a, b) for a, b in pairs)
    return {
        "rounds": len(pairs), "peer_median": statistics.median(a for a, _ in pairs),
        "peft_median": statistics.median(b for _, b in pairs),
        "ratio": statistics.median(ratios), "least": ratios[0], "most": ratios[-1]}


def run(name, binary, args):
    what, unit, larger, peer_kind, peft_args, aim = WORKS[name]
    peer = Process([sys.executable, str(HERE / "worker.py"), peer_kind, args.model, args.text, str(args.threads)])
    with tempfile.TemporaryDirectory() as registry:
        ours = peft(binary, registry, args, peft_args)
        try:
            peer_name = peer.read()["name"]
            pairs = alternate(peer, ours, args.rounds)
        finally:
            peer.end()
            ours.end()
    more = {k: v for k, v in pairs[-1][0].items() if k != "value"}
    return {
        "work": what, "unit": unit, "peer": peer_name, "aim": aim,
        **summary(pairs, lambda a, b: b / a if larger else a / b), "peer_mib": peer.peak, "peft_mib": ours.peak, **more}


def cost(name, binary, args):
    what, unit, other, other_args, own_args, most = COSTS[name]
    with tempfile.TemporaryDirectory() as registry:
        a, b = (peft(binary, registry, args, x) for x in (other_args, own_args))
        try:
            pairs = alternate(a, b, args.rounds)
        finally:
            a.end()
            b.end()
    return {
        "work": what, "unit": unit, "peer": other, "aim": most, **summary(pairs, lambda a, b: b / a),
        "peer_mib": a.peak, "peft_mib": b.peak}


def machine(binary, args):
    def bench(what):
        out = subprocess.run(
            [binary, "--json", "--threads", str(args.threads), "bench", what], capture_output=True, text=True, check=True)
        return json.loads(out.stdout.splitlines()[-1])

    m = bench("machine")
    with open("/proc/cpuinfo", encoding="ascii") as f:
        cpu = next((line.split(":")[1].strip() for line in f if line.startswith("model name")), platform.processor())
    found = {"cpu": cpu, "threads": args.threads, "peft": m["machine"], "limits": m["rows"]}
    with contextlib.suppress(ImportError):
        from gguf import GGUFReader

        matrices = [t for t in GGUFReader(args.model).tensors if len(t.shape) == 2]
        found["weights"], found["weight_bytes"] = sum(int(t.n_elements) for t in matrices), sum(int(t.n_bytes) for t in matrices)
    return found


def number(x):
    return f"{x:,.0f}" if x >= 100 else f"{x:.3g}"


def table(peer, own, works, results):
    """The lines of a table of the works that were measured."""
    at_most = "at most " if works is COSTS else ""
    lines = [
        f"| work | {peer} | {peer}'s | {own}'s | ratio | aimed at | memory, {peer} and {own} |", "|---|---|---|---|---|---|---|"]
    for name in works:
        r = results["rows"].get(name)
        if not r:
            continue
        recall = f" (recall {r['recall']:.3f})" if "recall" in r else ""
        lines.append(
            f"| {r['work']} | {r['peer']} | {number(r['peer_median'])} {r['unit']}{recall} | {number(r['peft_median'])} {r['unit']} "
            f"| **{r['ratio']:.2f}** ({r['least']:.2f} to {r['most']:.2f}) | {at_most}{r['aim']:.1f} | {r['peer_mib']:,} and {r['peft_mib']:,} MiB |")
    return lines


def shares(results):
    """What each of peft's figures would be if it took nothing but its work at the machine's limit, all threads together."""
    m = results["machine"]
    if "weights" not in m:
        return []
    limit = {name: value * 1e9 * m["threads"] for name, value, _ in m["limits"]}
    forward = 2 * m["weights"]  # operations of a token
    tuning = 1 / (2 * forward / limit["int8 multiply-add"])
    experts = 8 * 16 * 2 * 576 * 2 / limit["memory read"] * 1e6  # heads, k, u and v, width, bf16
    bounds = {
        "decode": ("every weight read once a token", limit["memory read"] / m["weight_bytes"]),
        "decode-million": ("the same", limit["memory read"] / m["weight_bytes"]),
        "prefill": ("two products of 8 bits a weight", limit["int8 multiply-add"] / (2 * forward)),
        "finetune-bf16": ("the products in int8", tuning),
        "layer-256": ("every selected row read once", experts),
        "layer-1": ("the same", experts),
    }
    lines = [
        "", "The machine's limit is all threads at the rates above (memory: of one thread, times the threads) and nothing but", "the work named.", "",
        "| work | at the limit | peft's | share |", "|---|---|---|---|"]
    for name, (what, bound) in bounds.items():
        r = results["rows"].get(name)
        if r and "machine" not in r:
            share = r["peft_median"] / bound if WORKS[name][2] else bound / r["peft_median"]
            lines.append(f"| {r['work']}: {what} | {number(bound)} {r['unit']} | {number(r['peft_median'])} {r['unit']} | {share:.2f} |")
    return lines


def page(results):
    m = results["machine"]
    elsewhere = [r for r in results["rows"].values() if "machine" in r]
    lines = [
        "# Performance", "",
        "Written by `bench/peers/run.py`, which measures peft and each peer in alternating rounds on the same machine, file and",
        "number of threads. Ratios are medians of the rounds' ratios, with the least and the most; above 1 peft is faster.",
        "Memory is the process's peak.", "",
        f"{m['cpu']}, {m['threads']} threads; {m['peft']}.", "",
        "| limit of one thread | measured |", "|---|---|",
        *[f"| {name} | {value:.0f} {unit} |" for name, value, unit in m["limits"]], "",
        "![ratios](performance.svg)", "",
        *table("peer", "peft", WORKS, results)]
    costs = table("against", "work", COSTS, results)
    if len(costs) > 2:
        lines += [
            "", "What works of peft's own cost, as a multiple of another's time, in the same alternating rounds; less is better.", "",
            *costs]
    lines += [""] if elsewhere else []
    for r in elsewhere:
        rates = ", ".join(f"{name} {value:.0f} {unit}" for name, value, unit in r["machine"]["limits"])
        lines += [f"- {r['work']}, beside {r['peer']}, was measured on another machine: {r['machine']['cpu']}, of one thread {rates}."]
    lines += shares(results)
    notes = ROOT / "bench/peers/notes.md"
    if notes.exists():
        lines += ["", notes.read_text(encoding="utf-8").rstrip()]
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def plot(results):
    rows = [results["rows"][n] for n in WORKS if n in results["rows"]]
    if not rows:
        return
    left, width, height, top = 520, 420, 30, 40
    most = max(max(r["ratio"], r["aim"]) for r in rows) * 1.05
    x = lambda v: left + v / most * width
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + width + 60}" height="{top + height * len(rows) + 20}" '
        'font-family="sans-serif" font-size="13">', '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="{left}" y="20">times as fast as the peer; the line is what was aimed at</text>']
    for i, r in enumerate(rows):
        y = top + i * height
        out += [
            f'<text x="{left - 8}" y="{y + 15}" text-anchor="end">{r["work"].replace("&", "&amp;")}</text>',
            f'<rect x="{left}" y="{y}" width="{x(r["ratio"]) - left:.1f}" height="20" fill="#4878a8"/>',
            f'<line x1="{x(r["aim"]):.1f}" x2="{x(r["aim"]):.1f}" y1="{y - 3}" y2="{y + 23}" stroke="#c03030" stroke-width="2"/>',
            f'<text x="{x(max(r["ratio"], r["aim"])) + 6:.1f}" y="{y + 15}">{r["ratio"]:.2f}</text>']
    PLOT.write_text("\n".join(out + ["</svg>"]) + "\n", encoding="utf-8")


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("text")
    p.add_argument("--only", nargs="*", choices=[*WORKS, *COSTS], default=[*WORKS, *COSTS])
    p.add_argument("--rounds", type=int, default=7)
    p.add_argument("--threads", type=int, default=os.cpu_count())
    args = p.parse_args()
    args.model, args.text = os.path.abspath(args.model), os.path.abspath(args.text)
    results = {"rows": {}}
    if RESULTS.exists() and set(args.only) != {*WORKS, *COSTS}:
        results = json.loads(RESULTS.read_text(encoding="utf-8"))
    with tempfile.TemporaryDirectory() as tmp:
        binary = os.path.join(tmp, "peft")
        subprocess.run(["go", "build", "-C", str(ROOT), "-o", binary, "./cmd/peft"], check=True)
        here = machine(binary, args)
        first = results.setdefault("machine", here)
        for name in args.only:
            row = results["rows"][name] = (cost if name in COSTS else run)(name, binary, args)
            if here["cpu"] != first["cpu"]:
                row["machine"] = here
            print(json.dumps(row, ensure_ascii=False), flush=True)
            RESULTS.write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    page(results)
    plot(results)


main()
