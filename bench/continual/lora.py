"""LoRA with Hugging Face PEFT on the batches and texts that bench/continual writes.

    lora.py MODEL.gguf THREADS

Reads one JSON command a line and answers each with one JSON object a line:

    {"do": "train", "batches": FILE, "lr": X, "beta1": X, "seed": N, "r": R, "alpha": A, "targets": [..], "from": DIR, "save": DIR}
    {"do": "merge", "adapters": [DIR, ..], "save": DIR}             the mean of the adapters' deltas, exactly
    {"do": "measure", "adapters": [DIR, ..], "texts": {NAME: FILE}}  all of them on at once; none is the base

Training is in bf16 with the adapter in f32, measuring in f32. A sequence is {"tokens", "learned", "prompt"}: learned[i] says
whether tokens[i + 1] counts, and of what is measured the tokens before prompt and those after are summed apart.
"""

import contextlib
import json
import os
import sys
import time

model_path, threads = sys.argv[1], int(sys.argv[2])
os.environ["OMP_NUM_THREADS"] = str(threads)

import peft  # noqa: E402
import torch  # noqa: E402
from transformers import AutoModelForCausalLM  # noqa: E402

ROWS = 1024  # of a forward pass when measuring


def base(dtype):
    directory, name = os.path.split(model_path)
    return AutoModelForCausalLM.from_pretrained(directory, gguf_file=name).to(dtype)


def losses(model, sequences):
    """Negative log-likelihoods of the learned tokens, in nats, in order."""
    width = max(len(s["tokens"]) for s in sequences) - 1
    ids = torch.zeros(len(sequences), width, dtype=torch.long)
    targets, learned = ids.clone(), torch.zeros(len(sequences), width, dtype=torch.bool)
    for i, s in enumerate(sequences):  # what follows a sequence is not seen by it, attention being causal
        n = len(s["tokens"]) - 1
        ids[i, :n], targets[i, :n] = torch.tensor(s["tokens"][:-1]), torch.tensor(s["tokens"][1:])
        learned[i, :n] = torch.tensor(s["learned"], dtype=torch.bool)
    inner = model.get_base_model() if isinstance(model, peft.PeftModel) else model
    x = inner.model(input_ids=ids, use_cache=False).last_hidden_state[learned]
    return torch.nn.functional.cross_entropy(inner.lm_head(x).float(), targets[learned], reduction="none")


def groups(sequences):
    """Sequences in order, as many together as fit in ROWS when each takes the longest's width."""
    group, width = [], 0
    for s in sequences:
        width = max(width, len(s["tokens"]))
        if group and width * (len(group) + 1) > ROWS:
            yield group
            group, width = [], len(s["tokens"])
        group.append(s)
    if group:
        yield group


class Worker:
    def __init__(self):
        torch.set_num_threads(threads)
        self.half, self.full = base(torch.bfloat16), base(torch.float32)

    def train(self, c):
        with open(c["batches"], encoding="utf-8") as f:
            work = json.load(f)
        torch.manual_seed(c["seed"])
        if c.get("from"):
            m = peft.PeftModel.from_pretrained(self.half, c["from"], is_trainable=True)
        else:
            config = peft.LoraConfig(r=c["r"], lora_alpha=c["alpha"], target_modules=c["targets"], task_type="CAUSAL_LM")
            m = peft.get_peft_model(self.half, config)
        m.train()
        own = [p for p in m.parameters() if p.requires_grad]
        opt = torch.optim.AdamW(own, lr=c["lr"], betas=(c["beta1"], 0.999), weight_decay=0.0)
        curve, tokens, start = [], 0, time.perf_counter()
        for sequences, share in zip(work["steps"], work["schedule"], strict=True):
            for g in opt.param_groups:
                g["lr"] = c["lr"] * share
            loss = losses(m, sequences).mean()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(own, 1.0)
            opt.step()
            opt.zero_grad(set_to_none=True)
            curve.append(loss.item())
            tokens += sum(len(s["tokens"]) - 1 for s in sequences)
        seconds = time.perf_counter() - start
        m.save_pretrained(c["save"])
        types = sorted({str(p.dtype).removeprefix("torch.") for p in own})
        self.half = m.unload()
        return {"losses": curve, "seconds": seconds, "tokens": tokens, "parameters": sum(p.numel() for p in own), "types": types}

    @contextlib.contextmanager
    def with_adapters(self, dirs):
        """The f32 model with adapters on."""
        if not dirs:
            yield self.full
            return
        names = [f"a{i}" for i in range(len(dirs))]
        m = peft.PeftModel.from_pretrained(self.full, dirs[0], adapter_name=names[0])
        for name, d in zip(names[1:], dirs[1:]):
            m.load_adapter(d, adapter_name=name)
        m.base_model.set_adapter(names)
        m.eval()
        try:
            yield m
        finally:
            self.full = m.unload()

    def merge(self, c):
        with self.with_adapters(c["adapters"]) as m:
            names = list(m.peft_config)
            m.add_weighted_adapter(names, [1 / len(names)] * len(names), "mean", combination_type="cat")
            m.save_pretrained(c["save"], selected_adapters=["mean"])
        os.makedirs(c["save"], exist_ok=True)
        for f in os.listdir(os.path.join(c["save"], "mean")):
            os.replace(os.path.join(c["save"], "mean", f), os.path.join(c["save"], f))
        return {}

    @torch.no_grad()
    def measure(self, c):
        texts = {}
        with self.with_adapters(c["adapters"]) as m:
            for name, file in c["texts"].items():
                with open(file, encoding="utf-8") as f:
                    sequences = json.load(f)["sequences"]
                texts[name] = []
                for group in groups(sequences):
                    all_losses = losses(m, group).double()
                    for s in group:
                        n, before = sum(s["learned"]), sum(s["learned"][: max(0, s["prompt"] - 1)])
                        texts[name].append([all_losses[:before].sum().item(), all_losses[before:n].sum().item()])
                        all_losses = all_losses[n:]
        return {"texts": texts}


def main():
    out = os.dup(1)  # libraries print too
    os.dup2(2, 1)
    with contextlib.redirect_stdout(sys.stderr), os.fdopen(out, "w", buffering=1) as answers:
        worker = Worker()
        print(json.dumps({"name": f"PEFT {peft.__version__}, torch {torch.__version__}"}), file=answers)
        for line in sys.stdin:
            c = json.loads(line)
            print(json.dumps({"train": worker.train, "merge": worker.merge, "measure": worker.measure}[c["do"]](c)), file=answers)


main()
