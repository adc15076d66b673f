"""peft_llama/, peft_flamingo/, peft.safetensors: adapters that PEFT wrote, and the logits of the models that carry them."""
import json
import shutil
import warnings

import torch
from formula import HERE, data, fill, parameter, write

warnings.filterwarnings("ignore")

from flamingo import reference_key
from open_clip.transformer import LayerNorm, QuickGELU, VisionTransformer
from open_flamingo.src import flamingo, flamingo_lm
from open_flamingo.src.helpers import GatedCrossAttentionBlock, PerceiverResampler
from open_flamingo.src.utils import extend_instance
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

LM = dict(vocab_size=61, hidden_size=24, intermediate_size=36, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
          rms_norm_eps=1e-6, tie_word_embeddings=False)
VIT = dict(image_size=14, patch_size=7, width=16, layers=2, heads=2, mlp_ratio=2.0, output_dim=10)
CROSS = dict(heads=2, dim_head=6, ff_mult=2)
PERCEIVER = dict(depth=1, heads=2, dim_head=6, num_latents=3, ff_mult=2)
EOC, MEDIA, PAD = 59, 60, 0
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]


def llama(vocab_size=LM["vocab_size"]):
    theta = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    config = LlamaConfig(**dict(LM, vocab_size=vocab_size), **theta, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
                         pad_token_id=PAD, attn_implementation="eager")
    return LlamaForCausalLM(config).eval()


class Clip(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.visual = VisionTransformer(**VIT, act_layer=QuickGELU, norm_layer=LayerNorm, output_tokens=True,
                                        final_ln_after_pool=True)


def small(cls, sizes):
    """OpenFlamingo fixes the sizes of its own parts; fixtures need small ones."""
    return lambda *args, **kwargs: cls(*args, **dict(kwargs, **sizes))


def small_flamingo(lang, layers_path="model.layers", every=2):
    flamingo_lm.GatedCrossAttentionBlock = small(GatedCrossAttentionBlock, CROSS)
    flamingo.PerceiverResampler = small(PerceiverResampler, PERCEIVER)
    extend_instance(lang, flamingo_lm.FlamingoLMMixin)
    lang.set_decoder_layers_attr_name(layers_path)
    return flamingo.Flamingo(Clip(), lang, EOC, MEDIA, vis_dim=VIT["width"], cross_attn_every_n_layers=every).eval()


def ids(key, shape):
    return ((data(key, shape).double() + 1) / 2 * 55).floor().long() + 3


def batch():
    tokens = ids("input_ids", (2, 9))
    tokens[0, 1] = tokens[1, 0] = tokens[1, 5] = MEDIA
    mask = torch.ones_like(tokens)
    tokens[0, 7:], mask[0, 7:] = PAD, 0
    return data("pixels", (2, 2, 1, 3, 14, 14)), tokens, mask


def adapt(model, prefix="", **options):
    """PEFT around `model`, its factors by the formula; the key is that of the module in the model's own tree."""
    peft = get_peft_model(model, LoraConfig(lora_dropout=0.1, **options)).eval()
    with torch.no_grad():
        for name, p in peft.named_parameters():
            if "lora_" in name:
                p.copy_(parameter(prefix + reference_key(name), p.shape))
    return peft


def save(peft, name):
    shutil.rmtree(HERE / name, ignore_errors=True)
    peft.save_pretrained(HERE / name)
    (HERE / name / "README.md").unlink()
    path = HERE / name / "adapter_config.json"
    config = json.loads(path.read_text())
    if isinstance(config["target_modules"], list):  # a set there, in any order
        config["target_modules"].sort()
    path.write_text(json.dumps(config, indent=1) + "\n")
    for file in (HERE / name).iterdir():
        file.chmod(0o644)


def main():
    out, meta = {}, dict(language=LM, vision=VIT, cross_attention=CROSS, perceiver=PERCEIVER, cross_attn_every_n_layers=2,
                         eoc_token_id=EOC, media_token_id=MEDIA)

    model = llama()
    meta["llama_parameters"] = fill(model)
    out["llama/ids"] = ids("llama_ids", (2, 7))
    peft = adapt(model, r=2, lora_alpha=5, use_rslora=True, target_modules="all-linear", task_type="CAUSAL_LM")
    out["llama/logits"] = peft(out["llama/ids"]).logits
    save(peft, "peft_llama")
    meta["llama_state_dict"] = [k for k in peft.state_dict() if "lora_" in k]

    model = small_flamingo(llama())
    meta["parameters"] = fill(model, rename=reference_key)
    pixels, tokens, mask = batch()
    out.update(input_ids=tokens, attention_mask=mask)
    run = lambda m: m(vision_x=pixels, lang_x=tokens, attention_mask=mask).logits
    targets = r"lang_encoder\..*\.(" + "|".join(ATTENTION + ["to_q", "to_kv", "to_out", r"ff\.1", r"ff\.3"]) + ")"
    peft = adapt(model, r=3, lora_alpha=4, target_modules=targets)
    out["flamingo/logits"] = run(model)
    save(peft, "peft_flamingo")
    meta["flamingo_state_dict"] = [k for k in peft.state_dict() if "lora_" in k]

    # As Multimodal-GPT does it: the language encoder alone is wrapped.
    model = small_flamingo(llama())
    fill(model, rename=reference_key)
    model.lang_encoder = adapt(model.lang_encoder, "lang_encoder.", r=3, lora_alpha=4,
                               target_modules=ATTENTION + ["to_q", "to_kv", "to_out", "ff.1", "ff.3"])
    meta["lang_encoder_state_dict"] = [k for k in model.state_dict() if "lora_" in k]
    write("peft.safetensors", out, **meta)


if __name__ == "__main__":
    with torch.no_grad():
        main()
