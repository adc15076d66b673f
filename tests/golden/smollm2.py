"""smollm2.json, smollm2.safetensors: the real SmolLM2-135M-Instruct from its GGUF, by transformers in float32.
usage: smollm2.py SMOLLM2_GGUF"""
import pathlib
import sys

import torch
from formula import write, write_json
from tokenizer import smollm2
from transformers import AutoModelForCausalLM

PROMPTS = [
    "The", "The capital of France is", "Once upon a time, there was a little", "Question: What colour is the sky? Short answer:",
    "1, 2, 3, 4, 5,", "2 + 2 =", "def fibonacci(n):\n    if n < 2:\n        return", "import numpy as", "The opposite of hot is",
    "<|im_start|>user\nWhat is the capital of Italy?<|im_end|>\n<|im_start|>assistant\nThe capital of Italy is", "Water boils at 100 degrees",
    "Roses are red, violets are", "for (int i = 0; i < n;", "Monday, Tuesday, Wednesday,", "La capitale de la France est", "The mitochondria is the powerhouse of the",
    "{\"name\": \"Alice\", \"age\": 30, \"city\":", "Is there a red circle in the image? Answer yes or no. Answer:", "\u4f60\u597d\uff0c\u4e16",
    "A long prompt checks positions further out. The sun rises in the east and sets in the west. The moon goes around the Earth, and the Earth goes "
    "around the sun. It takes about 365 days for the Earth to go around the sun, and about 27 days for the moon to go around the",
]
STRIDE = 192


def main(gguf):
    path = pathlib.Path(gguf)
    tok = smollm2(path)
    model = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="eager").eval()
    rows, picked = [], []
    for text in PROMPTS:
        ids = tok.encode(text, add_special_tokens=False).ids
        with torch.no_grad():
            logits = model(input_ids=torch.tensor([ids])).logits[0, -1]
        top = logits.topk(2)
        margin = float(top.values[0] - top.values[1])
        assert margin > 0.01, f"near tie after {text!r}"
        following = int(top.indices[0])
        rows.append(dict(text=text, ids=ids, next=following, next_text=tok.decode([following]), next_logit=float(top.values[0]), margin=round(margin, 4)))
        picked.append(logits[::STRIDE])
    write_json("smollm2.json", dict(vocabulary_stride=STRIDE, prompts=rows))
    write("smollm2.safetensors", dict(logits=torch.stack(picked)), vocabulary_stride=STRIDE, notes="logits[p, j]: last position of prompt p, token 192 j")


if __name__ == "__main__":
    main(sys.argv[1])
