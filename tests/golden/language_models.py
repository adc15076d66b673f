"""flamingo_{mpt,mpt_hf,neox,neox_parallel,biogpt}.safetensors: open_flamingo's Flamingo over other language models;
language_configs.json: their config.json."""
import json
import re

import torch
from flamingo import EOC, MEDIA, PAD, RANK, ALPHA, VIT, Clip, batch, greedy_full, prompts, run, tokens
from formula import HERE, data, fill, parameter, write
from open_flamingo.src.flamingo import Flamingo
from open_flamingo.src.flamingo_lm import FlamingoLMMixin
from open_flamingo.src.utils import extend_instance
from peft import LoraConfig, get_peft_model
from transformers import BioGptConfig, BioGptForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, MptConfig, MptForCausalLM
from transformers.models.mpt.modeling_mpt import MptAttention

VOCABULARY, WIDTH = 131, 60
SITES = ["Wqkv", "query_key_value", "dense", "q_proj", "k_proj", "v_proj", "out_proj", "ffn.up_proj", "ffn.down_proj",
         "dense_h_to_4h", "dense_4h_to_h", "fc1", "fc2", "to_q", "to_kv", "to_out", "ff.1", "ff.3"]
# MPT-1B-RedPajama's checkpoint has older names than transformers' MPT.
MPT_1B_NAMES = {"norm_1": "ln_1", "norm_2": "ln_2", "ffn.up_proj": "mlp.mlp_up", "ffn.down_proj": "mlp.mlp_down",
                "norm_f": "ln_f"}


class QkNormAttention(MptAttention):
    """transformers' MPT attention with what MPT-1B adds: a norm of all of q and of k before the heads are split."""

    def __init__(self, config, layer_idx=None):
        super().__init__(config, layer_idx)
        norm = lambda: torch.nn.LayerNorm(config.hidden_size, eps=config.layer_norm_epsilon, bias=False)
        self.q_ln, self.k_ln = norm(), norm()

    def forward(self, *args, **kwargs):
        # An attention of its own would repeat everything; the fused projection's output is what changes.
        def normed(module, inputs, output):
            q, k, v = output.chunk(3, -1)
            return torch.cat([self.q_ln(q), self.k_ln(k), v], -1)

        with_norms = self.Wqkv.register_forward_hook(normed)
        try:
            return super().forward(*args, **kwargs)
        finally:
            with_norms.remove()


def mpt(qk_norm, heads):
    config = MptConfig(d_model=WIDTH, n_heads=heads, n_layers=3, expansion_ratio=4, max_seq_len=64, vocab_size=VOCABULARY,
                       pad_token_id=PAD, bos_token_id=1, eos_token_id=2, tie_word_embeddings=True)
    model = MptForCausalLM(config)
    if qk_norm:
        for index, block in enumerate(model.transformer.blocks):
            block.attn = QkNormAttention(config, index)
    return model, dict(vocab_size=VOCABULARY, d_model=WIDTH, n_heads=heads, n_layers=3, max_seq_len=64, attn_qk_ln=qk_norm)


def neox(parallel, share, tied):
    sizes = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=3, intermediate_size=92,
                 use_parallel_residual=parallel, tie_word_embeddings=tied)
    rope = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": share}
    config = GPTNeoXConfig(**sizes, rope_parameters=rope, max_position_embeddings=64, pad_token_id=PAD, bos_token_id=1,
                           eos_token_id=2, attn_implementation="eager")
    assert config.hidden_act == "gelu"
    return GPTNeoXForCausalLM(config), dict(sizes, rotary_pct=share)


def biogpt():
    sizes = dict(vocab_size=VOCABULARY, hidden_size=WIDTH, num_hidden_layers=3, num_attention_heads=5, intermediate_size=92,
                 max_position_embeddings=64)
    config = BioGptConfig(**sizes, pad_token_id=PAD, bos_token_id=1, eos_token_id=2, attn_implementation="eager")
    return BioGptForCausalLM(config), sizes


def reference_key(layers_path, names):
    """The one spelling per parameter that OpenFlamingo's checkpoints use."""
    def key(name):
        name = name.replace("base_model.model.", "").replace(".base_layer", "").replace(".default.weight", "")
        name = re.sub(r"lang_encoder\.old_decoder_blocks\.(\d+)", rf"lang_encoder.{layers_path}.\1.decoder_layer", name)
        name = re.sub(r"lang_encoder\.gated_cross_attn_layers\.(\d+)",
                      rf"lang_encoder.{layers_path}.\1.gated_cross_attn_layer", name)
        name = name.replace("lang_encoder.lm_head", "lang_encoder.embed_out")  # the checkpoints' name of it
        for old, new in names.items():
            name = name.replace(f".{old}", f".{new}")
        return name
    return key


def build(lang, layers_path, every, key):
    extend_instance(lang, FlamingoLMMixin)
    lang.set_decoder_layers_attr_name(layers_path)
    lang.config.hidden_size = WIDTH
    model = Flamingo(Clip(), lang, EOC, MEDIA, vis_dim=VIT["width"], cross_attn_every_n_layers=every)
    return model.eval(), fill(model, rename=key)


def add_lora(model, key):
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
                params[key(name)] = p
                p.copy_(parameter(key(name), p.shape))
                listing.append([key(name), list(p.shape)])
    return peft.eval(), params, listing


def positions_of(mask):
    return (mask.cumsum(1) - 1).clamp(min=0)


def plain_logits(lang, forward, takes_positions):
    """The language model alone, without gated blocks, on the left-padded prompts."""
    ids, mask = prompts()
    layers = lang._get_decoder_layers()
    lang._set_decoder_layers(lang.old_decoder_blocks)
    with torch.no_grad():
        logits = forward(input_ids=ids, attention_mask=mask, **(dict(position_ids=positions_of(mask)) if takes_positions else {})).logits
    lang._set_decoder_layers(layers)
    return dict(prompt_ids=ids, prompt_mask=mask, language_logits=logits)


def decode(model, takes_positions, out, meta):
    """Greedy with cache, asserted equal to whole passes; beam 3 as OpenFlamingo's evaluation asks for it."""
    ids, mask = prompts()
    pixels = data("prompt_pixels", (2, 2, 1, 3, 42, 42))
    forward = model.lang_encoder.forward
    if not takes_positions:  # ALiBi: greedy_full's positions mean nothing to it
        model.lang_encoder.forward = lambda position_ids=None, **k: forward(**k)
    with torch.no_grad():
        full, _ = greedy_full(model, pixels, ids, mask, 7)
        model.lang_encoder.forward = forward
        args = dict(vision_x=pixels, lang_x=ids, attention_mask=mask, max_new_tokens=7, do_sample=False, pad_token_id=PAD)
        cached = model.generate(**args, eos_token_id=-1)
        stop = int(full[0, ids.shape[1] + 3])
        stopped = model.generate(**args, eos_token_id=stop)
        beams = model.generate(**args, eos_token_id=stop, num_beams=3, length_penalty=0.0)
    assert torch.equal(full, cached), (full, cached)
    assert not (full[:, ids.shape[1]:] == MEDIA).any(), "a generated <image> is outside this fixture"
    out.update(prompt_ids=ids, prompt_mask=mask, greedy_ids=full, greedy_ids_eos=stopped, beam_ids=beams)
    meta.update(greedy_new_tokens=7, greedy_eos=stop)


def fixture(name, made, layers_path, every, names=None, whole=True, takes_positions=True):
    lang, sizes = made
    key = reference_key(layers_path, names or {})
    forward = lang.forward  # bound before OpenFlamingo puts its own in front of it
    model, listing = build(lang, layers_path, every, key)
    pixels = data("pixels", (3, 2, 1, 3, 42, 42))
    ids, mask, labels = batch()
    with torch.no_grad():
        result, _ = run(model, pixels, ids, mask, labels)
    out = dict(input_ids=ids, attention_mask=mask, labels=labels, logits=result.logits, loss=result.loss)
    meta = dict(language=sizes, vision=VIT, cross_attn_every_n_layers=every, eoc_token_id=EOC, media_token_id=MEDIA,
                parameters=listing, formula_inputs=[["pixels", list(pixels.shape)], ["prompt_pixels", [2, 2, 1, 3, 42, 42]]])
    out.update(plain_logits(lang, forward, takes_positions))
    if whole:
        peft, params, lora = add_lora(model, key)
        result, _ = run(model, pixels, ids, mask, labels)
        result.loss.backward()
        out.update({"lora/logits": result.logits, "lora/loss": result.loss})
        out.update({"lora/grad/" + k: p.grad for k, p in params.items()})
        meta.update(lora=dict(rank=RANK, alpha=ALPHA), lora_parameters=lora)
        decode(model, takes_positions, out, meta)
    write(f"flamingo_{name}.safetensors", out, **meta)


def configs():
    """config.json as transformers writes it: published sizes, and one with nothing at its default."""
    rope = lambda theta, share: {"rope_type": "default", "rope_theta": theta, "partial_rotary_factor": share}
    made = dict(
        mpt_7b=MptConfig(d_model=4096, n_layers=32, n_heads=32, vocab_size=50432),
        mpt_small=MptConfig(vocab_size=131, d_model=60, n_layers=3, n_heads=6, expansion_ratio=3, max_seq_len=64,
                            layer_norm_epsilon=1e-6, attn_config=dict(qk_ln=True, alibi_bias_max=16)),
        redpajama_incite_3b=GPTNeoXConfig(hidden_size=2560, num_hidden_layers=32, num_attention_heads=32, vocab_size=50432,
                                          intermediate_size=10240, use_parallel_residual=False, rope_parameters=rope(10000.0, 1.0)),
        neox_small=GPTNeoXConfig(vocab_size=131, hidden_size=60, num_hidden_layers=3, num_attention_heads=3, intermediate_size=92,
                                 max_position_embeddings=64, layer_norm_eps=1e-6, tie_word_embeddings=True,
                                 rope_parameters=rope(5000.0, 0.4)))
    text = json.dumps({name: json.loads(config.to_json_string()) for name, config in made.items()}, indent=1) + "\n"
    (HERE / "language_configs.json").write_text(text, encoding="utf-8")


def main():
    configs()
    fixture("mpt", mpt(True, 4), "transformer.blocks", 1, MPT_1B_NAMES, takes_positions=False)
    fixture("mpt_hf", mpt(False, 6), "transformer.blocks", 2, whole=False, takes_positions=False)
    fixture("neox", neox(False, 1.0, False), "gpt_neox.layers", 2)
    fixture("neox_parallel", neox(True, 0.4, True), "gpt_neox.layers", 3, whole=False)
    fixture("biogpt", biogpt(), "biogpt.layers", 2)


if __name__ == "__main__":
    main()
