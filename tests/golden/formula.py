"""The weight formula and the fixture container that every golden script shares. README.md states both."""
import json
import math
import os
import pathlib

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
import torch
from safetensors.torch import save_file

HERE = pathlib.Path(__file__).resolve().parent
MASK = (1 << 64) - 1

torch.set_num_threads(1)  # the order of sums, and so the bytes, depends on it


def fnv1a64(text):
    h = 0xCBF29CE484222325
    for byte in text.encode("utf-8"):
        h = ((h ^ byte) * 0x100000001B3) & MASK
    return h


def splitmix64(x):
    """x: uint64 array (wraps around). Increment first, then mix."""
    x = x + np.uint64(0x9E3779B97F4A7C15)
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))


def uniform(key, count):
    """u(key, 0..count-1) in [-1, 1), float64 holding values exact in float32."""
    with np.errstate(over="ignore"):
        bits = splitmix64(np.uint64(fnv1a64(key)) + np.arange(count, dtype=np.uint64))
    return (bits >> np.uint64(40)).astype(np.float64) / 2.0**23 - 1.0


def affine(key, shape):
    """(offset, scale) of a parameter; the first rule that fits wins."""
    if key.endswith("gate"):
        return 0.5, 0.0
    if key.endswith("bias"):
        return 0.0, 0.1
    if key.endswith(".weight") and len(shape) == 1:
        return 1.0, 0.1
    if "embed" in key or key.endswith("latents"):
        return 0.0, 1.0
    return 0.0, math.sqrt(3.0 / math.prod(shape[1:]))


def parameter(key, shape):
    offset, scale = affine(key, shape)
    values = offset + scale * uniform(key, math.prod(shape))
    return torch.from_numpy(values.astype(np.float32)).reshape(tuple(shape))


def data(key, shape):
    """Inputs, cotangents, given gradients: plain u."""
    return torch.from_numpy(uniform(key, math.prod(shape)).astype(np.float32)).reshape(tuple(shape))


def fill(module, prefix="", rename=lambda key: key):
    """Sets every parameter of `module` by the formula; returns [[key, shape], ...] in order."""
    listing = []
    with torch.no_grad():
        for name, p in module.named_parameters():
            key = rename(prefix + name)
            p.copy_(parameter(key, p.shape))
            listing.append([key, list(p.shape)])
    return listing


def write(name, tensors, **meta):
    """One fixture: tensors plus one metadata entry "json"."""
    tensors = {k: v.detach().contiguous().clone() for k, v in tensors.items()}
    save_file(tensors, HERE / name, metadata={"json": json.dumps(meta)})
    (HERE / name).chmod(0o644)


def write_json(name, value):
    """A JSON object; each element of a top-level list on a line of its own."""
    def line(v):
        return json.dumps(v, ensure_ascii=False)

    def block(v):
        return "[\n" + ",\n".join("  " + line(e) for e in v) + "\n ]" if isinstance(v, list) else line(v)

    text = "{\n" + ",\n".join(f" {line(k)}: {block(v)}" for k, v in value.items()) + "\n}\n"
    (HERE / name).write_text(text, encoding="utf-8")
