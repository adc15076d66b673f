"""model_dir/, checkpoint_train.pt, checkpoint.safetensors: OpenFlamingo's checkpoints over separately stored parts, and state-dict keys."""
import collections
import json
import shutil
import sys
import types
import warnings

import torch
from formula import HERE, data, fill, parameter, write
from safetensors.torch import save_file

warnings.filterwarnings("ignore")

from flamingo import reference_key
from peft import PeftModel
from peft_folders import CROSS, EOC, LM, MEDIA, PERCEIVER, VIT, batch, llama, small_flamingo
from transformers import BioGptConfig, BioGptForCausalLM, GPTNeoXConfig, GPTNeoXForCausalLM, MptConfig, MptForCausalLM

sys.modules.setdefault("wandb", types.ModuleType("wandb"))  # the trainer logs to it; not used here
from open_flamingo.train.train_utils import filter_state_dict_to_trainable

DIR = HERE / "model_dir"
SIZES = dict(vocab_size=61, hidden_size=24, num_hidden_layers=2, num_attention_heads=4, intermediate_size=36)


def vision(model):
    tensors = {"visual." + k: v.contiguous() for k, v in model.vision_encoder.state_dict().items()}
    (DIR / "vision").mkdir()
    save_file(tensors, DIR / "vision" / "model.safetensors", metadata={"format": "pt"})
    config = dict(image_size=VIT["image_size"], patch_size=VIT["patch_size"], width=VIT["width"], layers=VIT["layers"],
                  head_width=VIT["width"] // VIT["heads"], mlp_ratio=VIT["mlp_ratio"])
    config = dict(model_cfg=dict(embed_dim=VIT["output_dim"], quick_gelu=True, vision_cfg=config, text_cfg={}))
    (DIR / "vision" / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")


def language():
    """As it was before tokens were added."""
    model = llama(EOC)
    fill(model)
    model.save_pretrained(DIR / "language")
    (DIR / "language" / "generation_config.json").unlink()
    return model


def trainable(model):
    """What open_flamingo's factory leaves trainable."""
    model.requires_grad_(False)
    model.perceiver.requires_grad_(True)
    model.lang_encoder.gated_cross_attn_layers.requires_grad_(True)
    model.lang_encoder.get_input_embeddings().requires_grad_(True)
    return filter_state_dict_to_trainable(model, model.state_dict())


def config():
    join = dict(vision=dict(tokens="before_ln_post"), vocab_size=MEDIA + 1, media_token_id=MEDIA, eoc_token_id=EOC,
                perceiver=dict(depth=PERCEIVER["depth"], heads=PERCEIVER["heads"], head_dim=PERCEIVER["dim_head"],
                               latents=PERCEIVER["num_latents"], ff_mult=PERCEIVER["ff_mult"]),
                cross_attention=dict(every=2, heads=CROSS["heads"], head_dim=CROSS["dim_head"], ff_mult=CROSS["ff_mult"]))
    (DIR / "config.json").write_text(json.dumps(join, indent=1) + "\n")


def model_dir(out, meta):
    shutil.rmtree(DIR, ignore_errors=True)
    DIR.mkdir()
    lang = language()
    lang.resize_token_embeddings(MEDIA + 1, mean_resizing=False)
    model = small_flamingo(lang)
    # The language model stays what its folder holds.
    fill(model.vision_encoder, "vision_encoder.")
    fill(model.perceiver, "perceiver.")
    fill(model.lang_encoder.gated_cross_attn_layers, "lang_encoder.gated_cross_attn_layers.", reference_key)
    # Trained embeddings are not the language model's own. The head's new rows are in no file: random there.
    table = model.lang_encoder.get_input_embeddings().weight
    table.data.copy_(parameter("trained.lang_encoder.model.embed_tokens.weight", table.shape))
    vision(model)
    config()
    (DIR / "flamingo").mkdir()
    saved = {k: v.detach().clone() for k, v in trainable(model).items()}
    meta["checkpoint_keys"] = list(saved)
    meta["other_keys"] = [k for k in model.state_dict() if not k.startswith("lang_encoder.")]
    torch.save(saved, DIR / "flamingo" / "checkpoint.pt")
    wrapped = collections.OrderedDict(("module." + k, v) for k, v in saved.items())
    optimizer = torch.optim.AdamW([torch.nn.Parameter(torch.zeros(2))])
    torch.save(dict(epoch=3, model_state_dict=wrapped, optimizer_state_dict=optimizer.state_dict(),
                    lr_scheduler_state_dict=dict(last_epoch=7)), HERE / "checkpoint_train.pt")
    for file in [HERE / "checkpoint_train.pt", *DIR.rglob("*")]:
        if file.is_file():
            file.chmod(0o644)
    pixels, tokens, mask = batch()
    run = lambda: model(vision_x=pixels, lang_x=tokens, attention_mask=mask).logits[..., :EOC]
    out.update(input_ids=tokens, attention_mask=mask, logits=run())
    b, t = pixels.shape[:2]
    features = model.vision_encoder(pixels.flatten(0, 2))[1]
    out["media_latents"] = model.perceiver(features.reshape(b, t, 1, *features.shape[1:]))
    PeftModel.from_pretrained(model, HERE / "peft_flamingo")
    out["peft/logits"] = run()


def keys(lang, layers_path):
    lang.config.hidden_size = 24
    model = small_flamingo(lang, layers_path)
    language = lambda names: [k.removeprefix("lang_encoder.") for k in names if k.startswith("lang_encoder.")]
    return dict(whole=language(model.state_dict()), trained=language(trainable(model)))


def main():
    out, meta = {}, {}
    model_dir(out, meta)
    neox = dict(SIZES, attn_implementation="eager")
    meta["keys"] = {
        "llama": keys(llama(), "model.layers"),
        "mpt": keys(MptForCausalLM(MptConfig(d_model=24, n_heads=4, n_layers=2, vocab_size=61)), "transformer.blocks"),
        "gpt_neox": keys(GPTNeoXForCausalLM(GPTNeoXConfig(**neox)), "gpt_neox.layers"),
        "gpt_neox_tied": keys(GPTNeoXForCausalLM(GPTNeoXConfig(**neox, tie_word_embeddings=True)), "gpt_neox.layers"),
        "biogpt": keys(BioGptForCausalLM(BioGptConfig(**SIZES, max_position_embeddings=64)), "biogpt.layers")}
    write("checkpoint.safetensors", out, **meta)


if __name__ == "__main__":
    with torch.no_grad():
        main()
