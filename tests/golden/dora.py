"""dora.safetensors, peft_dora_llama/, peft_dora_flamingo/, peft_pissa_llama/, lora_plus.json: PEFT's DoRA, PiSSA's initialisation
and LoRA+'s parameter groups."""
import copy
import warnings

import bitsandbytes
import torch
from formula import HERE, data, fill, parameter, write, write_json

warnings.filterwarnings("ignore")

from flamingo import reference_key
from peft import LoraConfig, PeftModel, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from peft_folders import ATTENTION, CROSS, EOC, LM, MEDIA, PERCEIVER, VIT, batch, ids, llama, save, small_flamingo

TARGETS = r"lang_encoder\..*\.(q_proj|k_proj|v_proj|o_proj|to_q|to_kv|to_out|ff\.1|ff\.3)"
# Gradients that are stored: of each kind of site one module.
SHOWN = dict(llama=("layers.0.self_attn.q_proj", "layers.1.self_attn.v_proj", "layers.1.mlp.down_proj"),
             flamingo=("layers.0.decoder_layer.self_attn.k_proj", "layers.1.gated_cross_attn_layer.attn.to_kv",
                       "layers.1.gated_cross_attn_layer.ff.3"))


def key_of(name):
    """The module's key in the model's own tree, and which of the three tensors it is."""
    return reference_key(name.replace(".lora_magnitude_vector.default.weight", ".lora_magnitude_vector"))


def adapt(model, prefix="", **options):
    """DoRA around `model`: magnitudes as they start times 1 + u / 4, then both factors by the formula."""
    peft = get_peft_model(model, LoraConfig(lora_dropout=0.0, use_dora=True, **options)).train()
    with torch.no_grad():
        for name, p in peft.named_parameters():
            key = prefix + key_of(name)
            if "lora_magnitude" in name:
                p.mul_(1 + data(key, p.shape) / 4)
            elif "lora_" in name:
                p.copy_(parameter(key, p.shape))
    return peft


def keep(out, kind, peft, logits):
    """Logits, and the shown gradients of their product with a cotangent."""
    out[f"{kind}/logits"] = logits
    (logits * data(f"{kind}/cotangent", logits.shape)).sum().backward()
    for name, p in peft.named_parameters():
        if "lora_" in name and any(s in name for s in SHOWN[kind]) and "old_decoder" not in name:
            out[f"{kind}/grad/{key_of(name)}"] = p.grad


def language_model(out, meta):
    model = llama()
    meta["llama_parameters"] = fill(model)
    tokens = out["llama/ids"] = ids("llama_ids", (2, 7))
    peft = adapt(model, r=2, lora_alpha=5, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    keep(out, "llama", peft, peft(tokens).logits)
    save(peft, "peft_dora_llama")


def whole_flamingo(out, meta):
    model = small_flamingo(llama())
    meta["parameters"] = fill(model, rename=reference_key)
    pixels, tokens, mask = batch()
    out.update(input_ids=tokens, attention_mask=mask)
    peft = adapt(model, r=3, lora_alpha=4, target_modules=TARGETS)
    logits = model(vision_x=pixels, lang_x=tokens, attention_mask=mask).logits
    # Padded positions are compared with nothing.
    keep(out, "flamingo", peft, logits * mask[..., None])
    save(peft, "peft_dora_flamingo")


class One(torch.nn.Module):
    def __init__(self, fc):
        super().__init__()
        self.fc = fc

    def forward(self, x):
        return self.fc(x)


def linear(out, meta, kind):
    """A projection [12, 64] with a trained bias, or one whose weight bitsandbytes keeps in 4 bits."""
    fc = torch.nn.Linear(64, 12)
    fill(fc, "fc.")
    if kind == "nf4":
        packed = bitsandbytes.nn.Linear4bit(64, 12, compute_dtype=torch.float32, quant_type="nf4", compress_statistics=True)
        packed.load_state_dict(fc.state_dict())
        fc = packed.to("cpu")
    peft = get_peft_model(One(fc), LoraConfig(r=3, lora_alpha=6, use_dora=True, target_modules=["fc"]))
    layer = peft.base_model.model.fc
    magnitude = layer.lora_magnitude_vector["default"].weight
    out[f"{kind}/start"] = magnitude.detach().clone()
    with torch.no_grad():
        magnitude.mul_(1 + data("fc.lora_magnitude_vector", magnitude.shape) / 4)
        for factor in ("lora_A", "lora_B"):
            p = getattr(layer, factor)["default"].weight
            p.copy_(parameter(f"fc.{factor}", p.shape))
    trained = dict(lora_A=layer.lora_A["default"].weight, lora_B=layer.lora_B["default"].weight, lora_magnitude_vector=magnitude)
    if kind == "linear":
        trained["bias"] = layer.base_layer.bias.requires_grad_()
    x = data("x", (5, 64)).requires_grad_()
    y = out[f"{kind}/y"] = peft(x)
    (y * data("y_cotangent", y.shape)).sum().backward()
    out[f"{kind}/grad/x"] = x.grad
    for name, p in trained.items():
        out[f"{kind}/grad/{name}"] = p.grad
    if kind == "linear":
        peft.merge_adapter()
        out["linear/merged"] = layer.base_layer.weight


def pissa(out, meta):
    fc = torch.nn.Linear(10, 12, bias=False)
    fill(fc, "pissa.")
    peft = get_peft_model(One(fc), LoraConfig(r=3, lora_alpha=6, init_lora_weights="pissa", target_modules=["fc"]))
    layer = peft.base_model.model.fc
    out["pissa/product"] = layer.lora_B["default"].weight @ layer.lora_A["default"].weight
    out["pissa/residual"] = layer.base_layer.weight
    out["pissa/gram"] = layer.lora_A["default"].weight @ layer.lora_A["default"].weight.T  # the root of S on both sides

    # A folder holds the trained factors; whoever loads it takes the start of theirs out of the base again.
    model = llama()
    fill(model)
    base = copy.deepcopy(model)
    peft = get_peft_model(model, LoraConfig(r=2, lora_alpha=3, init_lora_weights="pissa", target_modules=ATTENTION))
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_" in name:
                p.add_(parameter(key_of(name), p.shape) / 4)
    save(peft, "peft_pissa_llama")
    again = PeftModel.from_pretrained(base, HERE / "peft_pissa_llama").eval()
    out["pissa/logits"] = again(out["llama/ids"]).logits


class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = torch.nn.Linear(3, 2)
        self.norm = torch.nn.LayerNorm(2)

    def forward(self, x):
        return self.norm(self.fc(x))


def lora_plus():
    lr, ratio, decay = 0.01, 8.0, 0.3
    peft = get_peft_model(Net(), LoraConfig(r=2, lora_alpha=2, use_dora=True, target_modules=["fc"]))
    names = {}
    for name, p in peft.named_parameters():
        key = key_of(name).replace("base_layer.", "")
        names[key] = p.requires_grad_()
        p.data.copy_(data("lora_plus." + key, p.shape))
    optimizer = create_loraplus_optimizer(peft, torch.optim.AdamW, lr=lr, loraplus_lr_ratio=ratio, loraplus_weight_decay=decay,
                                          betas=(0.9, 0.95), eps=1e-8)
    steps = []
    for step in range(4):
        for key, p in names.items():
            p.grad = data(f"lora_plus.{step}.{key}", p.shape)
        optimizer.step()
        steps.append({key: p.detach().flatten().tolist() for key, p in names.items()})
    groups = [dict(lr=g["lr"], weight_decay=g["weight_decay"],
                   names=sorted(k for k, p in names.items() if any(p is q for q in g["params"]))) for g in optimizer.param_groups]
    write_json("lora_plus.json", dict(
        notes="A parameter p starts at input lora_plus.p; at step s (from 0) its gradient is input lora_plus.s.p; both by the formula.",
        lr=lr, ratio=ratio, weight_decay=decay, betas=[0.9, 0.95], eps=1e-8, groups=groups, params_after_step=steps))


def main():
    out, meta = {}, dict(language=LM, vision=VIT, cross_attention=CROSS, perceiver=PERCEIVER, cross_attn_every_n_layers=2,
                         eoc_token_id=EOC, media_token_id=MEDIA)
    language_model(out, meta)
    whole_flamingo(out, meta)
    linear(out, meta, "linear")
    linear(out, meta, "nf4")
    pissa(out, meta)
    write("dora.safetensors", out, **meta)
    lora_plus()


if __name__ == "__main__":
    main()
