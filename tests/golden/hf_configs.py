"""hf_configs.json: what transformers makes of config.json's in many spellings: the rotation's frequencies, the vision
tower's sizes. open_clip_configs.safetensors: open_clip's towers with keys that few files have."""
import json
import logging

import torch
from formula import HERE, data, fill, write
from open_clip.model import _build_vision_tower
from transformers import CLIPConfig, GPTNeoXConfig, LlamaConfig, SiglipConfig
from transformers.models.gpt_neox.modeling_gpt_neox import GPTNeoXRotaryEmbedding
from transformers.models.llama.modeling_llama import LlamaRotaryEmbedding

logging.getLogger("transformers").setLevel(logging.CRITICAL)

SIZES = dict(vocab_size=31, hidden_size=32, intermediate_size=36, num_hidden_layers=1, num_attention_heads=2,
             max_position_embeddings=64)
YARN = dict(factor=4.0, original_max_position_embeddings=16)
LLAMA3 = dict(YARN, low_freq_factor=1.0, high_freq_factor=4.0, rope_theta=500000.0)
LONG = dict(short_factor=[1.0] * 8, long_factor=[2.0] * 8, original_max_position_embeddings=16)
ROPES = [
    {},
    dict(rope_theta=500000.0),
    dict(rope_parameters=None, rope_theta=500000.0),
    dict(rope_parameters={}, rope_theta=500000.0),
    dict(rope_parameters=dict(rope_type="default"), rope_theta=500000.0),
    dict(rope_parameters=dict(type="default"), rope_theta=500000.0),
    dict(rope_parameters=dict(rope_theta=500000.0)),
    dict(rope_parameters=dict(rope_theta=500000.0), rope_theta=20000.0),
    dict(rope_parameters=dict(rope_type="default", rope_theta=500000.0)),
    dict(rope_parameters=dict(rope_type=None), rope_theta=500000.0),
    dict(rope_parameters=dict(rope_theta=None), rope_theta=500000.0),
    dict(rope_theta=None),
    dict(rope_scaling=None, rope_theta=500000.0),
    dict(rope_scaling={}, rope_theta=500000.0),
    dict(rope_scaling=dict(rope_type="default"), rope_theta=500000.0),
    dict(rope_scaling=dict(type="default", rope_theta=20000.0), rope_parameters=dict(rope_theta=500000.0)),
    dict(rope_scaling={}, rope_parameters=dict(rope_theta=500000.0)),
    dict(rope_parameters=dict(rope_type="unheard_of")),
]
for spelling in ("type", "rope_type"):
    for place in ("rope_parameters", "rope_scaling"):
        ROPES += [{place: dict({spelling: kind}, **values)} for kind, values in
                  [("linear", dict(factor=4.0, rope_theta=10000.0)), ("dynamic", dict(factor=4.0)), ("yarn", YARN),
                   ("llama3", LLAMA3), ("longrope", LONG)]]
PARTIAL = [
    dict(rotary_pct=0.5),
    dict(rotary_pct=1.0, rotary_emb_base=20000),
    dict(rope_parameters={}, rotary_pct=0.5, rotary_emb_base=20000),
    dict(rope_parameters=dict(rope_type="default"), rotary_pct=0.5, rotary_emb_base=20000),
    dict(rope_parameters=dict(partial_rotary_factor=0.75), rotary_pct=0.5, rotary_emb_base=20000),
    dict(rope_parameters=dict(rope_theta=500000.0), rotary_pct=0.5, rotary_emb_base=20000),
    dict(rope_parameters=dict(rope_theta=500000.0, partial_rotary_factor=1.0), rotary_pct=0.5, rotary_emb_base=20000),
    dict(rope_scaling=dict(type="default"), rotary_pct=0.5, rotary_emb_base=20000),
    dict(rope_scaling=dict(type="linear", factor=2.0), rotary_pct=0.5, rotary_emb_base=20000),
]


def rope(model_type, keys):
    """The frequencies of a config.json with these keys beside the sizes, or how the reference fails on it."""
    kind, embedding = {"llama": (LlamaConfig, LlamaRotaryEmbedding), "gpt_neox": (GPTNeoXConfig, GPTNeoXRotaryEmbedding)}[model_type]
    out = dict(model_type=model_type, keys=keys)
    text = json.dumps(dict(SIZES, model_type=model_type, **keys))
    try:
        rotary = embedding(kind.from_dict(json.loads(text)))
        if rotary.rope_type != "default":
            return dict(out, rope_type=rotary.rope_type)
        return dict(out, rope_type="default", inverse_frequencies=rotary.inv_freq.tolist())
    except (KeyError, RuntimeError, TypeError, ValueError) as error:
        return dict(out, error=type(error).__name__)


TOWER = dict(hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2, image_size=15, patch_size=5)
TOWERS = [
    dict(vision_config=TOWER),
    dict(vision_config=dict(TOWER, hidden_act="gelu", layer_norm_eps=1e-6)),
    dict(vision_config=dict(TOWER, hidden_act="quick_gelu"), vision_config_dict=dict(TOWER, hidden_act="gelu")),
    dict(vision_config=dict(TOWER, hidden_act="gelu"), vision_config_dict=TOWER),
    dict(vision_config=dict(TOWER, layer_norm_eps=1e-3), vision_config_dict=dict(patch_size=16)),
    dict(vision_config=dict(TOWER, hidden_act="gelu"), vision_config_dict={}),
    dict(vision_config=dict(TOWER, hidden_act="gelu"), vision_config_dict=None),
    dict(vision_config_dict=dict(TOWER, hidden_act="gelu")),
    dict(vision_config=None, vision_config_dict=TOWER),
    dict(vision_config=None),
    dict(hidden_size=16),
]
FIELDS = ["image_size", "patch_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
          "hidden_act", "layer_norm_eps"]


def tower(model_type, keys):
    config = {"clip": CLIPConfig, "siglip": SiglipConfig}[model_type].from_dict(dict(json.loads(json.dumps(keys)), model_type=model_type))
    expected = {field: getattr(config.vision_config, field) for field in FIELDS}
    return dict(model_type=model_type, keys=keys, expected=expected)


CLIP = dict(image_size=15, patch_size=5, width=8, layers=1, head_width=4)
OPEN_CLIP = {
    "plain": ({}, {}),
    "norm_eps": (dict(norm_kwargs=dict(eps=1e-2)), {}),
    "tanh": (dict(act_kwargs=dict(approximate="tanh")), {}),
    "exact": (dict(act_kwargs=dict(approximate="none"), norm_kwargs={}), {}),
    "no_act_kwargs": (dict(act_kwargs={}), dict(quick_gelu=True)),
    "layer_scale": (dict(ls_init_value=0.1), {}),
    "no_ln_pre": (dict(no_ln_pre=True), {}),
    "sizes_as_lists": (dict(image_size=[15, 15], patch_size=[5, 5], mlp_ratio=1.6), {}),
    "what_changes_no_token": (dict(pool_type="avg", final_ln_after_pool=True, patch_dropout=0.5, output_tokens=True), {}),
}
OPEN_CLIP_REFUSED = {
    "act_kwargs_of_quick_gelu": (dict(act_kwargs=dict(approximate="tanh")), dict(quick_gelu=True)),
    "unknown_key": (dict(depth=3), {}),
    "unknown_norm_kwarg": (dict(norm_kwargs=dict(epsilon=1e-3)), {}),
}


def open_clip_towers():
    out, cases = {}, {}
    for name, (vision, model) in OPEN_CLIP.items():
        visual = _build_vision_tower(6, dict(CLIP, **vision), model.get("quick_gelu", False)).eval()
        parameters = fill(visual, "visual.")
        # The tokens as open_clip <= 2.22 gave them, and normed.
        seen = []
        visual.transformer.register_forward_hook(lambda module, inputs, output: seen.append(output))
        visual.output_tokens = True
        tokens = visual(data("open_clip.pixels", (1, 3, 15, 15)))[1]
        out[f"{name}/before_ln_post"] = seen[0][:, 1:]
        out[f"{name}/after_ln_post"] = visual.ln_post(seen[0])[:, 1:]
        assert any(torch.equal(tokens, out[f"{name}/{which}_ln_post"]) for which in ("before", "after")), name
        cases[name] = dict(model_cfg=dict(embed_dim=6, vision_cfg=dict(CLIP, **vision), **model), parameters=parameters)
    refused = {}
    for name, (vision, model) in OPEN_CLIP_REFUSED.items():
        try:
            _build_vision_tower(6, dict(CLIP, **vision), model.get("quick_gelu", False))
            raise AssertionError(name)
        except TypeError:
            refused[name] = dict(embed_dim=6, vision_cfg=dict(CLIP, **vision), **model)
    write("open_clip_configs.safetensors", out, cases=cases, refused=refused)


def main():
    ropes = [rope(kind, keys) for kind in ("llama", "gpt_neox") for keys in ROPES] + [rope("gpt_neox", keys) for keys in PARTIAL]
    towers = [tower("clip", keys) for keys in TOWERS]
    towers += [tower("siglip", dict(vision_config=dict(TOWER, hidden_act="gelu"))), tower("siglip", dict(hidden_size=16))]
    lines = lambda items: "[\n" + ",\n".join("  " + json.dumps(item) for item in items) + "\n ]"
    text = f'{{\n "sizes": {json.dumps(SIZES)},\n "ropes": {lines(ropes)},\n "towers": {lines(towers)}\n}}\n'
    (HERE / "hf_configs.json").write_text(text)
    open_clip_towers()


if __name__ == "__main__":
    main()
