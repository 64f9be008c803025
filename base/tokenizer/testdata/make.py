"""Makes the reference files beside this one with Hugging Face's package: pip install tokenizers; python make.py"""
import json
import pathlib
import random

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

here = pathlib.Path(__file__).parent
text = (here / "../../../examples/quickstart/manual/manual.md").resolve().read_text()[:20000]
llama3 = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
          r"|\s*[\r\n]+|\s+(?!\S)|\s+")
byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
gpt2 = pre_tokenizers.ByteLevel(add_prefix_space=False)
kinds = {
    "smollm": pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), gpt2]),
    "gpt-2": gpt2,
    "llama-bpe": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(llama3), "isolated"), byte_level]),
    "qwen2": pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(llama3.replace("{1,3}", "")), "isolated"), byte_level]),
}
random.seed(1)
letters = "ab'stlSTREve 129٣²½\n\r\t\x0b\x1c\x1f\x85.,!éé日🙂\u00a0\u200b\u2028\u3000ſKİ<|>x"
cases = ["".join(random.choice(letters) for _ in range(random.randint(1, 25))) for _ in range(60)]
cases += ["a<|end|> <plain> c", "  <left>  x", "y <right>  z  ", "<|end|><|end|>x<plain>", "we'll see: 1234 errors  (E-07)\n\n\tdone"]
for name, pre in kinds.items():
    t = Tokenizer(models.BPE())
    t.pre_tokenizer, t.decoder = pre, decoders.ByteLevel()
    if name == "qwen2":
        t.normalizer = normalizers.NFC()
    t.train_from_iterator([text], trainers.BpeTrainer(
        vocab_size=420, special_tokens=["<|end|>"], initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False))
    t.add_tokens([AddedToken("<plain>", special=False, normalized=False),
                  AddedToken("<left>", lstrip=True, special=False, normalized=False)])
    t.add_special_tokens([AddedToken("<right>", rstrip=True, special=True)])
    reference = [{"text": c, "ids": t.encode(c, add_special_tokens=False).ids} for c in cases]
    (here / f"{name}.json").write_text(json.dumps(
        {"tokenizer": json.loads(t.to_str()), "reference": reference}, ensure_ascii=True, separators=(",", ":")) + "\n")

# In SentencePiece's manner: a space is a mark, every byte has a token, and two tokens merge wherever they make a third.
t = Tokenizer(models.BPE())
t.pre_tokenizer = pre_tokenizers.Metaspace()
t.train_from_iterator([text], trainers.BpeTrainer(vocab_size=360, show_progress=False))
learned = sorted(t.get_vocab(), key=t.get_vocab().get)
tokens = ["<unk>", "<|end|>"] + [f"<0x{b:02X}>" for b in range(256)] + learned
ids = {token: i for i, token in enumerate(tokens)}
merges = [(token[:i], token[i:]) for token in learned for i in range(1, len(token)) if token[:i] in ids and token[i:] in ids]
replace = normalizers.Replace(" ", "▁")
kinds = {
    "llama-2": (normalizers.Sequence([normalizers.Prepend("▁"), replace]), None),
    "mistral": (None, pre_tokenizers.Metaspace(prepend_scheme="first", split=False)),
    "metaspace": (None, pre_tokenizers.Metaspace()),
    "gemma": (replace, pre_tokenizers.Split(" ", "merged_with_previous")),
}
cases += [" two  spaces ", "▁mark ▁", "the error code<|end|> of the coffee machine<|end|>"]
for name, (normalizer, pre) in kinds.items():
    t = Tokenizer(models.BPE(ids, merges, byte_fallback=True, fuse_unk=True, unk_token="<unk>"))
    if normalizer:
        t.normalizer = normalizer
    if pre:
        t.pre_tokenizer = pre
    t.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    t.add_special_tokens([AddedToken("<|end|>", special=True, normalized=False)])
    reference = [{"text": c, "ids": t.encode(c, add_special_tokens=False).ids} for c in cases]
    (here / f"{name}.json").write_text(json.dumps(
        {"tokenizer": json.loads(t.to_str()), "reference": reference}, ensure_ascii=True, separators=(",", ":")) + "\n")
