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
