"""flamingo.safetensors, flamingo_tied.safetensors: open_flamingo's Flamingo over a HF LLaMA and an open_clip ViT."""
import re
import warnings

import torch
from formula import data, fill, parameter, write

warnings.filterwarnings("ignore")

import open_clip
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from open_flamingo.src.flamingo import Flamingo
from open_flamingo.src.flamingo_lm import FlamingoLMMixin
from open_flamingo.src.utils import extend_instance
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

# Today's generate() does not pass attention_mask by position in its prefill.
_forward = FlamingoLMMixin.forward
FlamingoLMMixin.forward = lambda self, input_ids=None, attention_mask=None, **k: _forward(self, input_ids, attention_mask, **k)

LM = dict(vocab_size=131, hidden_size=60, intermediate_size=92, num_hidden_layers=5, num_attention_heads=6,
          num_key_value_heads=2, rms_norm_eps=1e-6, rope_theta=10000.0, tie_word_embeddings=False)
VIT = dict(image_size=42, patch_size=14, width=48, layers=3, heads=3, mlp_ratio=4.0, output_dim=20)
EOC, MEDIA, PAD = 129, 130, 0
RANK, ALPHA = 3, 5
SITES = ["q_proj", "k_proj", "v_proj", "o_proj", "to_q", "to_kv", "to_out", "ff.1", "ff.3"]


def reference_key(name):
    """The one spelling per parameter that OpenFlamingo's checkpoints use (each is registered twice)."""
    name = name.replace("base_model.model.", "").replace(".base_layer", "").replace(".default.weight", "")
    name = re.sub(r"lang_encoder\.old_decoder_blocks\.(\d+)", r"lang_encoder.model.layers.\1.decoder_layer", name)
    return re.sub(r"lang_encoder\.gated_cross_attn_layers\.(\d+)", r"lang_encoder.model.layers.\1.gated_cross_attn_layer", name)


class Clip(torch.nn.Module):
    def __init__(self):
        super().__init__()
        # final_ln_after_pool: tokens come out before ln_post, as in the open_clip of OpenFlamingo's time.
        self.visual = VisionTransformer(**VIT, act_layer=QuickGELU, norm_layer=LayerNorm, output_tokens=True,
                                        final_ln_after_pool=True)


def build(lm, every):
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": lm["rope_theta"]}}
    config = LlamaConfig(**{k: v for k, v in lm.items() if k != "rope_theta"}, **theta, max_position_embeddings=64,
                         bos_token_id=1, eos_token_id=2, pad_token_id=PAD, attn_implementation="eager")
    lang = LlamaForCausalLM(config)
    extend_instance(lang, FlamingoLMMixin)
    lang.set_decoder_layers_attr_name("model.layers")
    model = Flamingo(Clip(), lang, EOC, MEDIA, vis_dim=VIT["width"], cross_attn_every_n_layers=every)
    return model.eval(), fill(model, rename=reference_key)


def tokens(key, shape):
    """Ids 3..128 by the formula: never padding, bos, eos or an added token."""
    return ((data(key, shape).double() + 1) / 2 * 126).floor().long() + 3


def batch():
    ids = tokens("input_ids", (3, 17))
    ids[0, 5] = MEDIA
    ids[0, 16] = EOC
    ids[1, 0] = ids[1, 7] = MEDIA
    ids[1, 6] = EOC
    ids[2, 0] = ids[2, 11] = MEDIA
    mask = torch.ones_like(ids)
    ids[1, 13:], mask[1, 13:] = PAD, 0
    labels = ids.clone()
    labels[(ids == MEDIA) | (mask == 0)] = -100
    labels[0, :5] = -100
    labels[2, 1:4] = -100
    return ids, mask, labels


def prompts():
    """Two left-padded prompts, 11 and 8 tokens."""
    ids = tokens("prompt_ids", (2, 11))
    ids[0, 2] = ids[0, 6] = MEDIA
    mask = torch.ones_like(ids)
    ids[1, :3], mask[1, :3] = PAD, 0
    ids[1, 3] = MEDIA
    return ids, mask


def run(model, pixels, ids, mask, labels=None):
    """Output, plus the hidden state after every decoder layer."""
    hidden = []
    hooks = [l.register_forward_hook(lambda m, i, o: hidden.append(o[0] if isinstance(o, tuple) else o))
             for l in model.lang_encoder._get_decoder_layers()]
    out = model(vision_x=pixels, lang_x=ids, attention_mask=mask, labels=labels)
    for h in hooks:
        h.remove()
    return out, hidden


def greedy_full(model, pixels, ids, mask, count):
    """Greedy decoding by a whole forward pass per token, positions counted over unpadded tokens."""
    steps = []
    for _ in range(count):
        model._encode_vision_x(pixels)
        positions = (mask.cumsum(1) - 1).clamp(min=0)
        logits = model.lang_encoder(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False).logits
        top2 = logits[:, -1].topk(2).values
        assert (top2[:, 0] - top2[:, 1]).min() > 1e-3, "a near tie would make the ids depend on rounding"
        steps.append(logits[:, -1])
        ids = torch.cat([ids, logits[:, -1:].argmax(-1)], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
    return ids, torch.stack(steps, 1)


def add_lora(model):
    seen, targets = set(), []
    for name, mod in model.named_modules():
        named = name.startswith("lang_encoder") and any(name.endswith("." + s) for s in SITES)
        if named and isinstance(mod, torch.nn.Linear) and id(mod) not in seen:
            seen.add(id(mod))
            targets.append(name)
    peft = get_peft_model(model, LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=0.0, target_modules=targets))
    listing, params = [], {}
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_" in name:
                key = reference_key(name)
                p.copy_(parameter(key, p.shape))
                params[key] = p
                listing.append([key, list(p.shape)])
    return peft.eval(), params, listing


def vision(model, pixels, out):
    flat = pixels.flatten(0, 2)
    vit = model.vision_encoder
    with torch.no_grad():
        out["vit_tokens"] = vit(flat)[1]
        vit.final_ln_after_pool = False
        out["vit_tokens_after_ln_post"] = vit(flat)[1]
        vit.final_ln_after_pool = True
        b, t = pixels.shape[:2]
        out["latents"] = model.perceiver(out["vit_tokens"].reshape(b, t, 1, *out["vit_tokens"].shape[1:]))


def gradients(model, pixels, ids, mask, labels, out):
    """Perceiver, gated blocks and embeddings trainable, the rest frozen, no LoRA."""
    model.requires_grad_(False)
    chosen = re.compile(r"perceiver\.latents|perceiver\.layers\.(0\.0\.to_q|5\.1\.3)\.weight|.*_gate|.*layers\.3\..*to_kv\.weight"
                        r"|lang_encoder\.model\.embed_tokens\.weight")
    params = {reference_key(n): p for n, p in model.named_parameters()}
    for key, p in params.items():
        p.requires_grad_(bool(re.search(r"perceiver|gated_cross_attn|embed_tokens", key)))
    run(model, pixels, ids, mask, labels)[0].loss.backward()
    for key, p in params.items():
        if chosen.fullmatch(key):
            out["grad/" + key] = p.grad.clone()
    model.zero_grad(set_to_none=True)
    model.requires_grad_(False)


def decode(model, out, meta):
    ids, mask = prompts()
    pixels = data("prompt_pixels", (2, 2, 1, 3, 42, 42))
    with torch.no_grad():
        full, logits = greedy_full(model, pixels, ids, mask, 7)
        stop = int(full[0, ids.shape[1] + 5])  # text 0 stops at its sixth new token, text 1 at its fifth
        args = dict(vision_x=pixels, lang_x=ids, attention_mask=mask, max_new_tokens=7, do_sample=False, pad_token_id=PAD)
        cached = model.generate(**args, eos_token_id=-1)
        stopped = model.generate(**args, eos_token_id=stop)
    assert torch.equal(full, cached), (full, cached)
    assert not (full[:, ids.shape[1]:] == MEDIA).any(), "a generated <image> is outside this fixture"
    new = stopped[:, ids.shape[1]:]
    assert new.shape[1] == 6 and int(new[0, 5]) == int(new[1, 4]) == stop and int(new[1, 5]) == PAD, new
    out.update(prompt_ids=ids, prompt_mask=mask, greedy_ids=full, greedy_logits=logits, greedy_ids_eos=stopped)
    meta.update(greedy_new_tokens=7, greedy_eos=stop)


def main():
    model, listing = build(LM, every=2)
    pixels = data("pixels", (3, 2, 1, 3, 42, 42))
    ids, mask, labels = batch()
    out = dict(input_ids=ids, attention_mask=mask, labels=labels)
    vision(model, pixels, out)
    with torch.no_grad():
        result, hidden = run(model, pixels, ids, mask, labels)
    out.update(logits=result.logits, loss=result.loss)
    out.update({f"hidden.{i}": h for i, h in enumerate(hidden)})
    gradients(model, pixels, ids, mask, labels, out)

    peft, params, lora = add_lora(model)
    result, _ = run(model, pixels, ids, mask, labels)
    result.loss.backward()
    out.update({"lora/logits": result.logits, "lora/loss": result.loss})
    out.update({"lora/grad/" + key: p.grad for key, p in params.items()})
    meta = dict(language=LM, vision=VIT, cross_attn_every_n_layers=2, eoc_token_id=EOC, media_token_id=MEDIA, pad_token_id=PAD,
                perceiver=dict(dim=48, depth=6, heads=8, dim_head=64, num_latents=64, ff_mult=4),
                cross_attention=dict(heads=8, dim_head=64, ff_mult=4), lora=dict(rank=RANK, alpha=ALPHA, sites=SITES),
                parameters=listing, lora_parameters=lora,
                formula_inputs=[["pixels", list(pixels.shape)], ["prompt_pixels", [2, 2, 1, 3, 42, 42]]])
    decode(model, out, meta)
    write("flamingo.safetensors", out, **meta)

    lm = dict(LM, num_key_value_heads=6, num_hidden_layers=3, tie_word_embeddings=True, rope_theta=1e5)
    model, listing = build(lm, every=1)
    pixels = data("pixels", (2, 1, 1, 3, 42, 42))
    ids = tokens("input_ids", (2, 9))
    ids[0, 0] = ids[1, 3] = MEDIA
    with torch.no_grad():
        result, _ = run(model, pixels, ids, torch.ones_like(ids), ids)
    write("flamingo_tied.safetensors", dict(input_ids=ids, logits=result.logits, loss=result.loss), **dict(
        meta, language=lm, cross_attn_every_n_layers=1, parameters=listing, lora_parameters=[],
        formula_inputs=[["pixels", list(pixels.shape)]]))


if __name__ == "__main__":
    main()
