"""torch_files/: small files of torch.save, in its present and its older form, and what is in them."""
import collections
import json

import torch
from formula import HERE, data

FOLDER = HERE / "torch_files"


def tensors():
    base = data("base", (6, 4))
    integers = (data("integers", (3, 3)).double() * 100).long()
    return {
        "matrix": data("matrix", (3, 5)),
        "scalar": data("scalar", ()),
        "empty": torch.zeros(0, 3),
        "half": data("half", (7,)).half(),
        "bfloat": data("bfloat", (2, 2)).bfloat16(),
        "double": data("double", (3,)).double(),
        "long": integers,
        "byte": (integers % 256).to(torch.uint8),
        "bool": data("bool", (5,)) > 0,
        # Views of one storage: a row range, a transpose, a strided column.
        "rows": base[2:5],
        "transposed": base.t(),
        "column": base[1::2, 3],
    }


def rare_tensors():
    u = data("rare", (2, 3))
    attributes, parameter = u + 1, torch.nn.Parameter(u + 2)
    attributes.note, parameter.note = "an attribute", ["another"]
    out = {str(t).removeprefix("torch."): (u * 100).abs().to(t) for t in (torch.uint16, torch.uint32, torch.uint64)}
    for t in ("float8_e4m3fn", "float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"):
        out[t] = u.abs().to(getattr(torch, t))
    return out | {"complex64": torch.complex(u, -u), "complex128": torch.complex(u.double(), u.double() / 3),
                  "int32": (u * 100).int(), "int16": (u * 100).short(), "int8": (u * 100).to(torch.int8),
                  "attributes": attributes, "parameter": parameter, "strided": u.t()[1:]}


def described(values):
    return {k: dict(dtype=str(v.dtype).removeprefix("torch."), shape=list(v.shape),
                    values=(torch.view_as_real(v) if v.is_complex() else v).double().flatten().tolist()) for k, v in values.items()}


def save(name, value, **options):
    torch.save(value, FOLDER / name, **options)
    (FOLDER / name).chmod(0o644)


def main():
    FOLDER.mkdir(exist_ok=True)
    values = tensors()
    save("plain.pt", values)
    save("legacy.pt", values, _use_new_zipfile_serialization=False)
    save("protocol4.pt", values, pickle_protocol=4)
    module = torch.nn.Linear(3, 2)
    with torch.no_grad():
        module.weight.copy_(data("weight", (2, 3)))
        module.bias.copy_(data("bias", (2,)))
    state = module.state_dict()  # an OrderedDict with _metadata
    assert isinstance(state, collections.OrderedDict) and hasattr(state, "_metadata")
    save("module.bin", state)
    save("parameters.pth", {"weight": module.weight, "bias": module.bias}, _use_new_zipfile_serialization=False)
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-3)
    module(data("x", (4, 3))).sum().backward()
    optimizer.step()
    save("training.pt", {"epoch": 3, "model_state_dict": {"module." + k: v for k, v in state.items()},
                         "optimizer_state_dict": optimizer.state_dict(), "lr_scheduler_state_dict": {"last_epoch": 7}})
    # Beside the tensors what torch.load(weights_only=True) allows, too.
    rare = {**rare_tensors(), "inner": {"weight": data("inner", (2,)), "deeper": {"bias": data("deeper", (1,))}, 7: 8}, "set": {1, 2},
            "bytes": b"ab", "type": torch.float16, "size": torch.Size([2, 3]), "device": torch.device("cpu"), "none": None,
            "counter": collections.Counter({3: 1}), "storage": torch.UntypedStorage(4).fill_(1), "numbers": [1, -2.5, 1 << 70, (True,)]}
    for protocol in (2, 5):
        save(f"rare{protocol}.pt", rare, pickle_protocol=protocol)
    torch.serialization.set_crc32_options(False)
    save("no_checksums.pt", {"weight": data("weight", (2, 3)), "bias": data("bias", (2,))})
    torch.serialization.set_crc32_options(True)
    save("conjugate.pt", {"fine": data("fine", (2,)), "turned": torch.complex(data("x", (2,)), data("y", (2,))).conj()})
    rare |= {"inner.weight": rare["inner"]["weight"], "inner.deeper.bias": rare["inner"]["deeper"]["bias"]}
    for name, value in (("expected", values), ("rare", {k: v for k, v in rare.items() if isinstance(v, torch.Tensor)})):
        (FOLDER / f"{name}.json").write_text(json.dumps(described(value), indent=1) + "\n")


if __name__ == "__main__":
    main()
