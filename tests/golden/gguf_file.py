"""gguf_v3.gguf, gguf_v2.gguf, gguf_expected.safetensors: tensors and metadata of every supported kind, by gguf-py."""
import struct

import numpy as np
import torch
from formula import HERE, data, uniform, write
from gguf import GGMLQuantizationType as Q
from gguf import GGUFReader, GGUFWriter
from gguf.quants import dequantize, quantize

METADATA = [  # method, key, value
    ("uint8", "test.u8", 200), ("int8", "test.i8", -100), ("uint16", "test.u16", 60000), ("int16", "test.i16", -30000),
    ("uint32", "test.u32", 4000000000), ("int32", "test.i32", -2000000000), ("uint64", "test.u64", 2**63 + 5), ("int64", "test.i64", -(2**62) - 3),
    ("float32", "test.f32", 0.15625), ("float64", "test.f64", 3.141592653589793), ("bool", "test.true", True), ("bool", "test.false", False),
    ("string", "test.string", "caf\u00e9 \U0001f600 \"quoted\"\n"), ("string", "test.empty_string", ""),
    ("array", "test.strings", ["a", "", "\u0120the", "long " * 20]), ("array", "test.ints", [1, -2, 2000000000]),
    ("array", "test.floats", [0.5, -1.25, 1e10]), ("array", "test.bools", [True, False, True]),
]


def q6_k(rows, blocks):
    """Blocks of any bits (128 + 64 bytes), any int8 scales, and a half-precision factor in [2^-10, 2^-9)."""
    u = uniform("gguf.q6_k", rows * blocks * 210).reshape(rows * blocks, 210)
    raw = np.floor((u + 1) * 128).astype(np.uint8)
    d = (2.0**-10 * (1 + (u[:, 208:209] + 1) / 2)).astype(np.float16)
    raw[:, 208:] = d.view(np.uint8)
    return raw.reshape(rows, blocks * 210)


def tensors():
    """(name, kind, stored array, expected float32)"""
    shapes = dict(f32=((3, 5), Q.F32), f32_1d=((7,), Q.F32), f32_3d=((2, 3, 4), Q.F32), f16=((3, 10), Q.F16), bf16=((5, 6), Q.BF16),
                  q8_0=((3, 64), Q.Q8_0), q4_0=((5, 32), Q.Q4_0), q4_1=((7, 96), Q.Q4_1))
    for name, (shape, kind) in shapes.items():
        x = 3 * data("gguf." + name, shape).numpy()
        if name == "f16":
            x[0, :5] = [65504, -65504, 6e-8, -6.1e-5, 0]  # largest, subnormals
        if name.startswith("q"):
            x[1, :32] = 0  # a block whose factor is 0
            x[2, :32] *= 1e-3
        stored = quantize(x, kind)
        yield name + ".weight", kind, stored, dequantize(stored, kind)
    stored = q6_k(3, 2)
    yield "q6_k.weight", Q.Q6_K, stored, dequantize(stored, Q.Q6_K)


def store(path, alignment=None):
    writer = GGUFWriter(path, "golden")
    if alignment:
        writer.add_custom_alignment(alignment)
    for kind, key, value in METADATA:
        getattr(writer, "add_" + kind)(key, value)
    for name, kind, stored, _ in tensors():
        writer.add_tensor(name, stored, raw_dtype=kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    store(HERE / "gguf_v3.gguf")
    store(HERE / "gguf_v2.gguf", alignment=64)
    with open(HERE / "gguf_v2.gguf", "r+b") as f:  # little-endian v3 is v2 with another number
        f.seek(4)
        f.write(struct.pack("<I", 2))
    for name in ("gguf_v3.gguf", "gguf_v2.gguf"):
        assert len(GGUFReader(HERE / name).tensors) == 9
    kinds = {name: kind.name for name, kind, _, _ in tensors()}
    write("gguf_expected.safetensors", {name: torch.from_numpy(np.array(x, dtype=np.float32)) for name, _, _, x in tensors()},
          metadata={key: value for _, key, value in METADATA}, kinds=kinds)


if __name__ == "__main__":
    main()
