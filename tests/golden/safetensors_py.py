"""safetensors_py.safetensors: dtypes and shapes that the Python library writes."""
import math

import numpy as np
import torch
from formula import HERE, fnv1a64, splitmix64, uniform
from safetensors.torch import save_file


def bits(key, count):
    with np.errstate(over="ignore"):
        return splitmix64(np.uint64(fnv1a64(key)) + np.arange(count, dtype=np.uint64))


def floats(key, shape, dtype):
    return torch.from_numpy(uniform(key, math.prod(shape))).to(torch.float32).to(dtype).reshape(shape)


def integers(key, shape, dtype):
    """The top bits of the 64: 64 for I64, 32 for I32, 8 for U8, 1 for BOOL."""
    width = {torch.int64: 64, torch.int32: 32, torch.uint8: 8, torch.bool: 1}[dtype]
    top = (bits(key, math.prod(shape)) >> np.uint64(64 - width)).astype(np.uint64)
    numpy = {torch.int64: np.int64, torch.int32: np.int32, torch.uint8: np.uint8, torch.bool: np.bool_}[dtype]
    return torch.from_numpy(top.astype(numpy)).reshape(shape)


def main():
    tensors = {
        "f32": floats("f32", (3, 5), torch.float32), "f16": floats("f16", (4, 3), torch.float16), "bf16": floats("bf16", (2, 7), torch.bfloat16),
        "f64": floats("f64", (5,), torch.float64), "i64": integers("i64", (2, 3), torch.int64), "i32": integers("i32", (3,), torch.int32),
        "u8": integers("u8", (3, 3), torch.uint8), "bool": integers("bool", (7,), torch.bool),
        "scalar": floats("scalar", (), torch.float32), "empty": floats("empty", (0, 3), torch.float32),
        "nested.name/with \"quotes\" and \u00e9": floats("nested", (2,), torch.float32),
    }
    save_file(tensors, HERE / "safetensors_py.safetensors", metadata={"format": "pt"})
    (HERE / "safetensors_py.safetensors").chmod(0o644)


if __name__ == "__main__":
    main()
