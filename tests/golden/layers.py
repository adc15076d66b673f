"""layers.safetensors: one small case per layer, with input, output, cotangent and gradients."""
import torch
from formula import data, fill, write
from open_clip.transformer import LayerNorm, QuickGELU, ResidualAttentionBlock, VisionTransformer
from open_flamingo.src.helpers import GatedCrossAttentionBlock, PerceiverResampler
from transformers import LlamaConfig
from transformers.models.llama.modeling_llama import (LlamaAttention, LlamaMLP, LlamaRMSNorm, LlamaRotaryEmbedding,
                                                      apply_rotary_pos_emb)

OUT, CASES = {}, {}


def case(name, module, inputs, call, config=None, fixed=None):
    """Runs call(*inputs) with formula weights "<name>.<parameter>"; stores y, dy and every gradient."""
    parameters = fill(module, prefix=name + ".")
    for x in inputs.values():
        x.requires_grad_()
    y = call(*inputs.values())
    dy = data(name + ".dy", y.shape)
    y.backward(dy)
    tensors = dict(inputs, **(fixed or {}), y=y, dy=dy)
    tensors.update({"grad/" + k: x.grad for k, x in inputs.items()})
    tensors.update({"grad/" + k: p.grad for k, p in module.named_parameters() if p.grad is not None})
    OUT.update({f"{name}/{k}": v for k, v in tensors.items()})
    CASES[name] = dict(config or {}, parameters=parameters)


def x(name, *shape):
    return data(name + ".x", shape)


def norms():
    small = x("rms_norm", 2, 5, 37)
    small[0, 1] *= 1e-3  # where eps matters
    module = LlamaRMSNorm(37, eps=1e-6)
    case("rms_norm", module, dict(x=small), module, dict(eps=1e-6))
    module = torch.nn.LayerNorm(33, eps=1e-5)
    case("layer_norm", module, dict(x=x("layer_norm", 2, 5, 33)), module, dict(eps=1e-5))


def feed_forward():
    for name, act in (("mlp_quick_gelu", QuickGELU), ("mlp_gelu", torch.nn.GELU)):
        module = ResidualAttentionBlock(20, 2, mlp_ratio=3.5, act_layer=act).mlp  # c_fc, gelu, c_proj
        case(name, module, dict(x=2 * x(name, 3, 4, 20)), module)
    module = LlamaMLP(LlamaConfig(hidden_size=20, intermediate_size=34, num_attention_heads=2))
    case("swiglu", module, dict(x=x("swiglu", 3, 4, 20)), module)


def llama(**sizes):
    return LlamaConfig(**sizes, rope_parameters={"rope_type": "default", "rope_theta": 1e5}, attn_implementation="eager",
                       max_position_embeddings=4096)


def rope():
    rotary = LlamaRotaryEmbedding(llama(hidden_size=42, num_attention_heads=3))
    q, k = data("rope.q", (2, 3, 7, 14)), data("rope.k", (2, 1, 7, 14))
    positions = torch.tensor([[0, 1, 2, 3, 4, 5, 6], [5, 9, 17, 33, 1001, 1003, 2047]])
    q_out, k_out = apply_rotary_pos_emb(q, k, *rotary(q, positions))
    OUT.update({"rope/q": q, "rope/k": k, "rope/positions": positions, "rope/q_out": q_out, "rope/k_out": k_out})
    CASES["rope"] = dict(theta=1e5, head_dim=14, parameters=[])


def attention():
    config = llama(hidden_size=36, num_attention_heads=6, num_key_value_heads=2)
    module, rotary = LlamaAttention(config, 0), LlamaRotaryEmbedding(config)
    mask = torch.ones(3, 8, dtype=torch.long)
    mask[1, :3] = 0
    mask[2, 5:] = 0
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    allowed = torch.ones(8, 8, dtype=torch.bool).tril()[None] & (mask[:, None, :] == 1)
    bias = torch.zeros(3, 1, 8, 8).masked_fill(~allowed[:, None], torch.finfo(torch.float32).min)
    valid = mask[:, :, None].float()

    def call(x):
        return module(x, rotary(x, positions), attention_mask=bias)[0] * valid  # padded rows: y = 0, no gradient

    case("gqa_attention", module, dict(x=x("gqa_attention", 3, 8, 36)), call,
         dict(heads=6, kv_heads=2, head_dim=6, rope_theta=1e5), dict(mask=mask, positions=positions))


def flamingo():
    sizes = dict(dim=40, depth=2, heads=3, dim_head=10, num_latents=7, ff_mult=2)
    module = PerceiverResampler(**sizes)
    case("perceiver", module, dict(x=x("perceiver", 2, 3, 1, 5, 40)), module, sizes)

    sizes = dict(dim=36, dim_visual=40, heads=3, dim_head=10, ff_mult=2)
    module = GatedCrossAttentionBlock(**sizes, only_attend_immediate_media=True)
    where = torch.zeros(2, 9, dtype=torch.bool)
    where[0, 2] = where[0, 5] = where[1, 0] = where[1, 4] = where[1, 8] = True
    media = data("gated_block.media", (2, 3, 5, 40))
    case("gated_block", module, dict(x=x("gated_block", 2, 9, 36), media=media),
         lambda x, media: module(x, media, media_locations=where), sizes, dict(media_locations=where.long()))
    step = data("gated_block.step", (2, 1, 36))
    OUT["gated_block/step"] = step
    OUT["gated_block/step_out"] = module(step, media, media_locations=where, use_cached_media=True)


def vision():
    square = dict(image_size=35, patch_size=7, width=24, layers=2, heads=4, mlp_ratio=3.0)
    wide = dict(image_size=(28, 21), patch_size=7, width=20, layers=1, heads=2, mlp_ratio=2.5)
    for name, sizes, act in (("vit", square, QuickGELU), ("vit_rect_gelu", wide, torch.nn.GELU)):
        module = VisionTransformer(**sizes, output_dim=11, act_layer=act, norm_layer=LayerNorm, output_tokens=True,
                                   final_ln_after_pool=True)
        h, w = module.image_size
        case(name, module, dict(x=x(name, 2, 3, h, w)), lambda x: module(x)[1], sizes)
        module.final_ln_after_pool = False
        OUT[name + "/y_after_ln_post"] = module(OUT[name + "/x"])[1]


def main():
    for make in (norms, feed_forward, rope, attention, flamingo, vision):
        make()
    write("layers.safetensors", OUT, cases=CASES)


if __name__ == "__main__":
    main()
