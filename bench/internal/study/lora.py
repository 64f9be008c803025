"""LoRA by Hugging Face PEFT on tokens that come as JSON on standard input (see LoRA in lora.go); prints one JSON object."""

import json
import math
import os
import random
import sys
import time

job = json.load(sys.stdin)
os.environ["OMP_NUM_THREADS"] = str(job["threads"])
out = os.dup(1)  # libraries print too
os.dup2(2, 1)

import peft
import torch
from transformers import AutoModelForCausalLM

torch.set_num_threads(job["threads"])
torch.manual_seed(job["seed"])
directory, name = os.path.split(job["model"])
model = AutoModelForCausalLM.from_pretrained(directory, gguf_file=name).to(torch.bfloat16)
if job.get("from"):
    model = peft.PeftModel.from_pretrained(model, job["from"], is_trainable=True)
else:
    config = peft.LoraConfig(r=job["rank"], lora_alpha=2 * job["rank"], target_modules=job["modules"], task_type="CAUSAL_LM")
    model = peft.get_peft_model(model, config)


def padded(records):
    """Tokens and attention mask, padded on the right: [records, longest]."""
    longest = max(len(r["tokens"]) for r in records)
    ids = torch.tensor([r["tokens"] + [0] * (longest - len(r["tokens"])) for r in records])
    mask = torch.tensor([[1] * len(r["tokens"]) + [0] * (longest - len(r["tokens"])) for r in records])
    return ids, mask


def losses(records):
    """The sum of the losses of the learned tokens, and their number."""
    ids, mask = padded(records)
    learned = mask[:, 1:].bool()
    for i, r in enumerate(records):
        if r.get("learned"):
            learned[i, : len(r["tokens"]) - 1] &= torch.tensor(r["learned"][1:])
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    loss = torch.nn.functional.cross_entropy(logits[learned].float(), ids[:, 1:][learned], reduction="sum")
    return loss, int(learned.sum())


def groups(records, size):
    """Records of like length together, at most so many tokens with the padding."""
    group = []
    for r in sorted(records, key=lambda r: len(r["tokens"])):
        if group and (len(group) + 1) * len(r["tokens"]) > size:
            yield group
            group = []
        group.append(r)
    if group:
        yield group


def batches(records, size, seed):
    """Epoch after epoch in another order, at most so many tokens a batch."""
    order, shuffle = list(records), random.Random(seed)
    while True:
        shuffle.shuffle(order)
        batch, tokens = [], 0
        for r in order:
            if batch and tokens + len(r["tokens"]) - 1 > size:
                yield batch
                batch, tokens = [], 0
            batch.append(r)
            tokens += len(r["tokens"]) - 1
        yield batch


def train():
    model.train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    opt = torch.optim.AdamW(parameters, lr=job["rate"], betas=(0.9, 0.99), weight_decay=0)
    feed, steps, curve, tokens = batches(job["records"], job["batch"], job["seed"]), job["steps"], [], 0
    warm = min(10, max(1, steps // 10))
    start = time.perf_counter()
    for step in range(steps):
        rate = (step + 1) / warm if step < warm else 1 - 0.9 * (step - warm) / max(1, steps - warm)
        for g in opt.param_groups:
            g["lr"] = job["rate"] * rate
        batch = next(feed)
        learned = sum(sum(r["learned"][1:]) if r.get("learned") else len(r["tokens"]) - 1 for r in batch)
        total = 0.0
        for group in groups(batch, 1024):
            loss, _ = losses(group)
            (loss / learned).backward()
            total += loss.item() / learned
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        opt.step()
        opt.zero_grad(set_to_none=True)
        curve.append(total)
        tokens += sum(len(r["tokens"]) - 1 for r in batch)
        if step % 10 == 9:
            print(f"LoRA: step {step + 1} of {steps}, loss {total:.3f}, {tokens / (time.perf_counter() - start):.0f} tokens/s", file=sys.stderr)
    tail = curve[-max(1, len(curve) // 10) :]
    return {"tokens": tokens, "seconds": time.perf_counter() - start, "loss": sum(tail) / len(tail)}


def choose(prompts):
    """Logits of the words after each prompt."""
    rows = [None] * len(prompts)
    numbered = [{"tokens": p["tokens"], "at": i} for i, p in enumerate(prompts)]
    for group in groups(numbered, 1024):
        ids, mask = padded(group)
        hidden = model.base_model.model.model(input_ids=ids, attention_mask=mask).last_hidden_state
        last = hidden[torch.arange(len(group)), mask.sum(1) - 1]
        logits = model.base_model.model.lm_head(last)[:, job["words"]].float()
        for p, row in zip(group, logits.tolist()):
            rows[p["at"]] = row
    return rows


def answer(prompt):
    ids = torch.tensor([prompt["tokens"]])
    new = model.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=job["new_tokens"], do_sample=False, eos_token_id=job["end"], pad_token_id=0
    )[0, ids.shape[1] :].tolist()
    return new[:-1] if new and new[-1] in job["end"] else new


def perplexity(texts):
    total, count = 0.0, 0
    for t in texts:
        loss, n = losses([t])
        total, count = total + loss.item(), count + n
    return math.exp(total / count)


result = train() if job.get("records") else {"tokens": 0, "seconds": 0}
if job.get("save"):
    model.save_pretrained(job["save"])
model.eval()
with torch.no_grad():
    result["chosen"] = {k: choose(v) for k, v in (job.get("choose") or {}).items()}
    result["answers"] = [answer(p) for p in job.get("answer") or []]
    result["perplexity"] = {k: perplexity(v) for k, v in (job.get("score") or {}).items()}
    with model.disable_adapter():
        result["base"] = {k: perplexity(v) for k, v in (job.get("score") or {}).items()}
with os.fdopen(out, "w") as f:
    json.dump(result, f)
