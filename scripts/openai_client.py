"""Checks a running `peft serve` with OpenAI's own client: openai_client.py URL MODEL CHAT, where an empty MODEL is
the base and CHAT is 1 for one with a chat template."""

import math
import sys

from openai import BadRequestError, NotFoundError, OpenAI

url, model, has_chat = sys.argv[1], sys.argv[2], sys.argv[3] == "1"
client = OpenAI(base_url=url + "/v1", api_key="none", max_retries=0)

models = client.models.list().data
base = models[0].id
model = model or base
assert any(m.id == model for m in models), models
assert client.models.retrieve(model).id == model

whole = client.completions.create(model=model, prompt="To descale", max_tokens=12, temperature=0, logprobs=2)
assert whole.usage.completion_tokens == len(whole.choices[0].logprobs.tokens) > 0, whole
assert all(len(t) == 2 and max(t.values()) == p for t, p in zip(whole.choices[0].logprobs.top_logprobs, whole.choices[0].logprobs.token_logprobs)), whole
text, usage = "", None
for chunk in client.completions.create(model=model, prompt="To descale", max_tokens=12, temperature=0, stream=True, stream_options={"include_usage": True}):
    text += "".join(c.text for c in chunk.choices)
    usage = chunk.usage or usage
assert text == whole.choices[0].text and usage == whole.usage, (text, usage, whole)
print("completions, streamed and whole:", repr(text))

several = client.completions.create(model=model, prompt=["To descale", "The fan"], n=2, max_tokens=6, seed=3, extra_body={"top_k": 20, "min_p": 0.01})
assert [c.index for c in several.choices] == [0, 1, 2, 3], several
print("n and sampling:", [c.text for c in several.choices])

if has_chat:
    said = [{"role": "user", "content": "Say hello."}]
    answer = client.chat.completions.create(model=model, messages=said, max_completion_tokens=8, temperature=0, logprobs=True, top_logprobs=2)
    content = answer.choices[0].logprobs.content
    assert b"".join(bytes(t.bytes) for t in content).decode(errors="replace") == answer.choices[0].message.content, answer
    assert all(t.logprob <= 0 and len(t.top_logprobs) == 2 for t in content), answer
    parts = [c.choices[0].delta.content or "" for c in client.chat.completions.create(model=model, messages=said, max_tokens=8, temperature=0, stream=True)]
    assert "".join(parts) == answer.choices[0].message.content, (parts, answer)
    assert len(client.chat.completions.create(model=base, messages=said, max_tokens=4, n=3).choices) == 3
    print("chat:", repr(answer.choices[0].message.content))

vectors = client.embeddings.create(model=base, input=["The lake is calm.", "The lake is quiet.", "A goroutine is started."])  # base64 on the wire
dot = lambda a, b: sum(x * y for x, y in zip(a.embedding, b.embedding))
a, b, c = vectors.data
assert abs(dot(a, a) - 1) < 1e-4 and dot(a, b) > dot(a, c), (dot(a, b), dot(a, c))
plain = client.embeddings.create(model=base, input="The lake is calm.", encoding_format="float", dimensions=16).data[0]
assert len(plain.embedding) == 16 and math.isclose(sum(x * x for x in plain.embedding), 1, abs_tol=1e-4)
print("embeddings of", len(a.embedding), "dimensions")

for wanted, kind, call in [
    ("temperature", BadRequestError, lambda: client.completions.create(model=model, prompt="x", temperature=3)),
    ("response_format", BadRequestError, lambda: client.chat.completions.create(model=model, messages=[{"role": "user", "content": "x"}], response_format={"type": "json_object"})),
    ("model", NotFoundError, lambda: client.completions.create(model="nobody", prompt="x")),
]:
    try:
        call()
    except kind as e:
        assert e.param == wanted and e.message, e
    else:
        raise AssertionError(wanted + " was not refused")
print("errors")
