"""The Python peer's side of `./morph bench --peer`: a training step of OpenFlamingo with PEFT's LoRA, and greedy
decoding, on random weights. Takes the arguments of benchmarks/peer_step.cpp and prints the same JSON line.
Needs open_flamingo 2.0.1, peft, open_clip_torch, transformers and torch."""
import argparse
import json
import os
import re
import resource
import time
import warnings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
warnings.filterwarnings("ignore")

import open_clip
import torch
from open_flamingo.src.flamingo import Flamingo
from open_flamingo.src.flamingo_lm import FlamingoLMMixin
from open_flamingo.src.utils import extend_instance
from peft import LoraConfig, get_peft_model
from transformers import LlamaConfig, LlamaForCausalLM

SIZES = {
    "smollm2_135m": dict(hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9,
                         num_key_value_heads=3),
    "open_llama_3b": dict(hidden_size=3200, intermediate_size=8640, num_hidden_layers=26, num_attention_heads=32),
}
ADAPTED = r"\.(q_proj|k_proj|v_proj|o_proj|to_q|to_kv|to_out)$"
SUPERVISED = 4
FEW = 8  # tokens that are not counted: they bear what a generation costs once


def arguments():
    parser = argparse.ArgumentParser()
    parser.add_argument("--lm", default="smollm2_135m", choices=SIZES)
    parser.add_argument("--dtype", default="fp32", choices=["fp32", "bf16"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--float32_matmul_precision", default="highest", choices=["highest", "high", "medium"])
    # The peer keeps no features: it runs its frozen tower in every step, whatever the other side does.
    parser.add_argument("--cached_latents", default="false", choices=["true", "false"])
    for name, default in dict(batch=8, seq=32, steps=2, generate=0).items():
        parser.add_argument("--" + name, type=int, default=default)
    return parser.parse_args()


def build(name):
    vocabulary = 32002
    language = LlamaForCausalLM(LlamaConfig(vocab_size=vocabulary, **SIZES[name]))
    vision = open_clip.create_model("ViT-L-14", pretrained=None).to(torch.get_default_dtype())
    vision.visual.output_tokens = True
    # The mixin wants attention_mask by position, which today's generate does not pass when it reads the prompt.
    forward = FlamingoLMMixin.forward
    FlamingoLMMixin.forward = lambda self, input_ids=None, attention_mask=None, **rest: forward(
        self, input_ids, attention_mask, **rest)
    extend_instance(language, FlamingoLMMixin)
    language.set_decoder_layers_attr_name("model.layers")
    end, image = vocabulary - 2, vocabulary - 1
    model = Flamingo(vision, language, end, image, vis_dim=1024, cross_attn_every_n_layers=4)
    model.requires_grad_(False)
    # The peer registers wrapped layers under several names; each is adapted once.
    seen, targets = set(), []
    for path, module in model.named_modules():
        wanted = isinstance(module, torch.nn.Linear) and path.startswith("lang_encoder") and re.search(ADAPTED, path)
        if wanted and id(module) not in seen:
            seen.add(id(module))
            targets.append(path)
    lora = LoraConfig(r=16, lora_alpha=16, lora_dropout=0.0, target_modules=targets)
    return get_peft_model(model, lora, autocast_adapter_dtype=False), end, image


def main():
    asked = arguments()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision(asked.float32_matmul_precision)
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    torch.set_default_dtype(torch.bfloat16 if asked.dtype == "bf16" else torch.float32)
    with torch.device(asked.device):
        model, end, image = build(asked.lm)
    model.to(asked.device)
    trained = [p for p in model.parameters() if p.requires_grad]

    def synchronize():
        if asked.device == "cuda":
            torch.cuda.synchronize()

    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    pixels = torch.randn(asked.batch, 1, 1, 3, 224, 224, device=asked.device)
    ids = torch.randint(3, end, (asked.batch, asked.seq), device=asked.device)
    ids[:, 0], ids[:, -1] = image, end
    labels = ids.clone()
    labels[:, :asked.seq - SUPERVISED] = -100
    mask = torch.ones_like(ids)
    model.train()
    seconds = []
    for _ in range(asked.steps + 1):
        start = time.perf_counter()
        model(vision_x=pixels, lang_x=ids, attention_mask=mask, labels=labels)[0].backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        synchronize()
        seconds.append(time.perf_counter() - start)
    out = dict(trainable=sum(p.numel() for p in trained), step_s=sorted(seconds[1:])[len(seconds[1:]) // 2],
               peak_rss_gib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
    if asked.device == "cuda":
        out["peak_cuda_gib"] = torch.cuda.max_memory_reserved() / 2**30
    if asked.generate > FEW:
        base = model.eval().base_model.model

        def decoding(tokens):
            start = time.perf_counter()
            with torch.inference_mode():
                base.generate(vision_x=pixels[:1], lang_x=ids[:1], attention_mask=mask[:1], max_new_tokens=tokens,
                              min_new_tokens=tokens, num_beams=1, do_sample=False)
            synchronize()
            return time.perf_counter() - start

        decoding(FEW)  # a warm-up
        few, many = decoding(FEW), decoding(asked.generate)
        out["tokens_per_s"] = (asked.generate - FEW) / (many - few)
    print(json.dumps(out))


main()
