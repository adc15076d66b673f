"""torch_files/: small files of torch.save, in its present and its older form, and what is in them."""
import collections
import json
import pickle

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
    expected = {k: dict(dtype=str(v.dtype).removeprefix("torch."), shape=list(v.shape), values=v.double().flatten().tolist())
                for k, v in values.items()}
    (FOLDER / "expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
