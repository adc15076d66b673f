"""torch_script/: a small CLIP as OpenAI published theirs (a traced module in fp16, by torch.jit.save), and open_clip's values for it."""
import json
import pathlib
import tempfile
import zipfile

import torch
from formula import HERE, data, fill, write
from open_clip.model import CLIP

FOLDER = HERE / "torch_script"
VISION = dict(image_size=12, patch_size=4, width=8, head_width=4, layers=1)
TEXT = dict(context_length=5, vocab_size=7, width=4, heads=1, layers=1)


class Published(torch.nn.Module):
    """A CLIP with the sizes that OpenAI's files hold as tensors."""

    def __init__(self):
        super().__init__()
        clip = CLIP(embed_dim=6, vision_cfg=VISION, text_cfg=TEXT, quick_gelu=True)
        self.visual, self.ln_final = clip.visual, clip.ln_final
        self.logit_scale = clip.logit_scale
        for name, value in (("input_resolution", VISION["image_size"]), ("context_length", TEXT["context_length"]),
                            ("vocab_size", TEXT["vocab_size"])):
            self.register_buffer(name, torch.tensor(value))

    def forward(self, pixels):
        return self.visual(pixels)


def without_paths(source, target):
    """A copy with compressed code and with storages from multiples of 64 bytes, as torch.jit.save writes it, but without the records
    for debugging: they name files of the machine that the model was traced on."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for entry in old.infolist():
            name = entry.filename.split("/", 1)[1]
            if name.endswith(".debug_pkl") or name.startswith(("traced_inputs", ".data/")):
                continue
            info = zipfile.ZipInfo(f"{target.stem}/{name}")
            info.compress_type = entry.compress_type
            if entry.compress_type == zipfile.ZIP_STORED:
                padding = -(new.fp.tell() + 30 + len(info.filename) + 4) % 64
                info.extra = b"FB" + padding.to_bytes(2, "little") + b"Z" * padding
            new.writestr(info, old.read(entry))
    target.chmod(0o644)


def main():
    FOLDER.mkdir(exist_ok=True)
    model = Published().eval()
    fill(model)
    # Matrices in fp16, as in OpenAI's files; traced and run in fp32 with the same numbers.
    for p in model.parameters():
        if p.dim() > 1:
            p.data = p.data.half().float()
    with torch.no_grad(), tempfile.TemporaryDirectory() as folder:
        traced = torch.jit.trace(model, data("pixels", (1, 3, 12, 12)), check_trace=False)
        model.visual.output_tokens = True
        pooled, tokens = model.visual(data("pixels", (2, 3, 12, 12)))
        for p in traced.parameters():
            if p.dim() > 1:
                p.data = p.data.half()
        whole = pathlib.Path(folder) / "whole.pt"
        torch.jit.save(traced, whole)
        without_paths(whole, FOLDER / "ViT-small.pt")
    state = torch.jit.load(FOLDER / "ViT-small.pt").state_dict()
    listed = [[key, str(t.dtype).removeprefix("torch."), list(t.shape)] for key, t in state.items()]
    write("torch_script.safetensors", dict(pooled=pooled, tokens=tokens), listed=listed)
    config = dict(model_cfg=dict(embed_dim=6, quick_gelu=True, vision_cfg=VISION))
    (FOLDER / "open_clip_config.json").write_text(json.dumps(config, indent=1) + "\n")


if __name__ == "__main__":
    main()
