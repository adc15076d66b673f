"""vit_variants.safetensors: patch tokens and gradients of transformers' CLIP, SigLIP and DINOv2 vision towers."""
import pathlib
import re
import tempfile

import torch
from formula import data, fill, write
from safetensors import safe_open
from safetensors.torch import save_file
from transformers import (CLIPVisionConfig, CLIPVisionModelWithProjection, Dinov2Config, Dinov2Model, SiglipVisionConfig,
                          SiglipVisionModel)

SIZES = dict(image_size=15, patch_size=5, hidden_size=15, num_hidden_layers=2, num_attention_heads=3)
OUT, CASES = {}, {}


def published(name):
    """A parameter's name in the published files, where it is not the one in memory."""
    name = re.sub(r"\.attention\.([qkv])_proj\.",
                  lambda m: ".attention.attention." + dict(q="query", k="key", v="value")[m[1]] + ".", name)
    return name.replace(".attention.o_proj.", ".attention.output.dense.")


def prefixed(name):
    return name if name.startswith(("vision_model.", "visual_projection.")) else "vision_model." + name


def files_agree(model, names):
    """The file that the model writes has these keys, but for `vision_model.`, which it reads as well."""
    bare = {key.removeprefix("vision_model.") for key in names}
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = pathlib.Path(folder) / "model.safetensors"
        with safe_open(file, "pt") as opened:
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}
        assert {key.removeprefix("vision_model.") for key in tensors} == bare
        full = {key.removeprefix("vision_model."): key for key in names}
        save_file({full[key.removeprefix("vision_model.")]: t for key, t in tensors.items()}, file, {"format": "pt"})
        loaded, report = type(model).from_pretrained(folder, output_loading_info=True)
        assert not any(report[k] for k in ("missing_keys", "unexpected_keys", "mismatched_keys")), report
        for key, t in model.state_dict().items():
            assert torch.equal(loaded.state_dict()[key], t), key


def case(name, model, rename, drop_class):
    model = model.eval()
    parameters = fill(model, rename=rename)
    files_agree(model, [key for key, _ in parameters])
    x = data(name + ".pixels", (2, 3, 15, 15)).requires_grad_()
    y = model(pixel_values=x).last_hidden_state[:, drop_class:]
    y.backward(data(name + ".dy", y.shape))
    OUT.update({f"{name}/y": y, f"{name}/grad/x": x.grad})
    for key, p in model.named_parameters():
        # The second layer is left out for size; a bias of keys changes nothing, so its gradient is noise.
        if p.grad is None or ".1." in key or key.startswith("head.") or key.endswith("k_proj.bias"):
            continue
        if p.grad.any():
            OUT[f"{name}/grad/{rename(key)}"] = p.grad
    config = {k: v for k, v in model.config.to_diff_dict().items() if k not in ("transformers_version", "dtype")}
    CASES[name] = dict(config=dict(config, architectures=[type(model).__name__]), parameters=parameters)


def main():
    eager = dict(attn_implementation="eager")
    clip = CLIPVisionConfig(**SIZES, intermediate_size=22, projection_dim=7, **eager)
    assert clip.hidden_act == "quick_gelu" and clip.layer_norm_eps == 1e-5
    case("clip", CLIPVisionModelWithProjection(clip), prefixed, 1)
    siglip = SiglipVisionConfig(**SIZES, intermediate_size=22, **eager)
    assert siglip.hidden_act == "gelu_pytorch_tanh" and siglip.layer_norm_eps == 1e-6
    case("siglip", SiglipVisionModel(siglip), prefixed, 0)
    dinov2 = Dinov2Config(**SIZES, mlp_ratio=2, **eager)
    assert dinov2.hidden_act == "gelu" and dinov2.layer_norm_eps == 1e-6
    case("dinov2", Dinov2Model(dinov2), published, 1)
    write("vit_variants.safetensors", OUT, cases=CASES)


if __name__ == "__main__":
    main()
