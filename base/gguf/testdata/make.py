"""Makes the reference files of package gguf's tests with ggml's own Python package: pip install gguf numpy.

quantise.json: values, and the bytes that ggml makes of them in each type that the package writes.
dequant.json: for each type two blocks of random bytes and the values that ggml reads in them.
mixed.gguf: metadata of every type, and a tensor of every type that the package can quantise.
"""
import base64, json, pathlib
import numpy as np
import gguf
from gguf import GGMLQuantizationType as T

here = pathlib.Path(__file__).parent
rng = np.random.default_rng(1)
# where a block keeps its half-precision scales: random bits there could be infinite
halves = {"F16": [0], "Q8_0": [0], "Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}
out = {}
for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q4_K", "Q5_K", "Q6_K"]:
    t = T[name]
    block, size = gguf.GGML_QUANT_SIZES[t]
    n = 2 if block > 1 else 16
    if name == "F32":
        raw = rng.standard_normal(n).astype(np.float32).view(np.uint8).reshape(n, 4)
    elif name == "BF16":
        raw = gguf.quantize(rng.standard_normal(n).astype(np.float32), t).view(np.uint8).reshape(n, 2)
    else:
        raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
        for at in halves[name]:
            raw[:, at:at + 2] = rng.standard_normal(n).astype(np.float16).view(np.uint8).reshape(n, 2)
    want = gguf.dequantize(raw, t).astype(np.float32)
    out[name] = {"raw": base64.b64encode(raw.tobytes()).decode(), "values": base64.b64encode(want.tobytes()).decode()}
(here / "dequant.json").write_text(json.dumps(out, indent=1) + "\n")

# halves away from zero, a block of zeros, one large value, very small and very large scales
x = np.concatenate([rng.standard_normal(64), np.zeros(32), np.arange(-16, 16) + 0.5, np.r_[127.0, np.arange(31) + 0.5],
                    rng.standard_normal(32) * 1e-9, rng.standard_normal(32) * 1e4, [1e4], rng.standard_normal(31) * 1e-3]).astype(np.float32)
out = {name: base64.b64encode(gguf.quantize(x, T[name]).tobytes()).decode() for name in ["F32", "F16", "BF16", "Q8_0"]}
(here / "quantise.json").write_text(json.dumps(out, indent=1) + "\n")

w = gguf.GGUFWriter(str(here / "mixed.gguf"), "llama")
w.add_uint8("a.u8", 200); w.add_int8("a.i8", -100); w.add_uint16("a.u16", 60000); w.add_int16("a.i16", -30000)
w.add_uint32("a.u32", 4000000000); w.add_int32("a.i32", -2000000000); w.add_uint64("a.u64", 1 << 60); w.add_int64("a.i64", -(1 << 60))
w.add_float32("a.f32", 1.5); w.add_float64("a.f64", 2.25); w.add_bool("a.bool", True); w.add_string("a.string", "süß")
w.add_array("a.strings", ["x", "", "yz"]); w.add_array("a.ints", [1, -2, 3]); w.add_array("a.floats", [0.5, -1.5]); w.add_array("a.bools", [True, False])
x = (np.arange(3 * 64, dtype=np.float32).reshape(3, 64) - 90) / 7
for name in ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q4_1", "Q5_0", "Q5_1"]:
    t = T[name]
    if name == "F32":
        w.add_tensor("w." + name, x)
    elif name == "F16":
        w.add_tensor("w." + name, x.astype(np.float16))
    else:
        w.add_tensor("w." + name, gguf.quantize(x, t), raw_dtype=t)
w.write_header_to_file(); w.write_kv_data_to_file(); w.write_tensors_to_file(); w.close()
