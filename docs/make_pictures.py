"""Draws layers.svg and batch.svg: python3 docs/make_pictures.py writes both beside this file.

Pictures are read on light and on dark pages, so each brings both sets of colours and no background.
"""

import html
import pathlib

HERE = pathlib.Path(__file__).parent

STYLE = """
  text { font-family: system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328; }
  .name { font-size: 15px; font-weight: 600; }
  .note { font-size: 12px; fill: #59636e; }
  .group { font-size: 13px; font-weight: 600; fill: #59636e; }
  .box { fill: #eaf2fb; stroke: #4f7fb5; stroke-width: 1.2; }
  .data { fill: #eef7ee; stroke: #4d9159; stroke-width: 1.2; }
  .frame { fill: none; stroke: #9aa4af; stroke-width: 1; stroke-dasharray: 4 4; }
  .arrow { fill: none; stroke: #59636e; stroke-width: 1.4; marker-end: url(#head); }
  .head { fill: #59636e; }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3; }
    .note, .group { fill: #9aa7b4; }
    .box { fill: #16263a; stroke: #6ea3dd; }
    .data { fill: #17291b; stroke: #6cb47a; }
    .frame { stroke: #59636e; }
    .arrow { stroke: #9aa7b4; }
    .head { fill: #9aa7b4; }
  }
"""

# The order of tests/structure/rules.hpp, in groups; with what each holds.
GROUPS = [
    ("ground", [
        ("core", "tensors, modules, configs, JSON"),
        ("kernels", "CPU and CUDA, few rows"),
    ]),
    ("weights", [
        ("adapt", "sites, policies, LoRA"),
        ("quant", "NF4, Int8"),
        ("offload", "host, other processes"),
    ]),
    ("models", [
        ("nn", "projections, norms, attention"),
        ("model", "towers, resamplers, decoders"),
        ("vlm", "the parts together, decoding"),
    ]),
    ("files", [
        ("formats", "safetensors, GGUF, pickles"),
        ("io", "model and adapter folders"),
    ]),
    ("data", [
        ("text", "tokenizers"),
        ("image", "PNG, JPEG, preprocessing"),
        ("data", "data sets, prompts, batches"),
    ]),
    ("runs", [
        ("train", "optimizer, losses, the loop"),
        ("distributed", "Gloo, NCCL"),
        ("plan", "memory and operations"),
    ]),
    ("results", [
        ("eval", "answers and scores"),
        ("report", "statistics, plots, pages"),
    ]),
]


class Picture:
    """Shapes of one picture, in the order in which they are drawn."""

    def __init__(self, width: int, height: int, title: str, description: str):
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" '
            f'height="{height}" role="img" aria-labelledby="title description">',
            f'<title id="title">{html.escape(title)}</title>',
            f'<desc id="description">{html.escape(description)}</desc>',
            f"<style>{STYLE}</style>",
            '<defs><marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="8" markerHeight="8" '
            'orient="auto"><path class="head" d="M0 0 L8 4 L0 8 z"/></marker></defs>',
        ]

    def box(self, x: float, y: float, w: float, h: float, kind: str) -> None:
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{w}" height="{h}" rx="7"/>')

    def text(self, x: float, y: float, words: str, kind: str, anchor: str = "middle") -> None:
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}" text-anchor="{anchor}">{html.escape(words)}</text>')

    def arrow(self, *points: tuple[float, float]) -> None:
        path = " L".join(f"{x} {y}" for x, y in points)
        self.parts.append(f'<path class="arrow" d="M{path}"/>')

    def labelled(self, x: float, y: float, w: float, h: float, kind: str, name: str, *notes: str) -> None:
        """A box with a name and smaller lines below it."""
        self.box(x, y, w, h, kind)
        first = y + h / 2 + 5 - 8.5 * len(notes)
        self.text(x + w / 2, first, name, "name")
        for i, note in enumerate(notes):
            self.text(x + w / 2, first + 17 * (i + 1), note, "note")

    def save(self, name: str) -> None:
        (HERE / name).write_text("\n".join([*self.parts, "</svg>"]) + "\n", encoding="utf-8")


def layers() -> None:
    """A row for each group, its layers from left to right; arrows in the order of the layers."""
    box_w, box_h, gap, row, left = 218, 56, 26, 88, 92
    width, height = left + 3 * box_w + 2 * gap + 20, 20 + row * len(GROUPS) - 12
    picture = Picture(width, height, "The layers of MorphVLM",
                      "Eighteen layers in seven groups. A header includes only its own layer and earlier ones.")
    number = 0
    for r, (group, members) in enumerate(GROUPS):
        y = 16 + row * r
        picture.text(left - 16, y + box_h / 2 + 5, group, "group", "end")
        for c, (name, note) in enumerate(members):
            number += 1
            x = left + c * (box_w + gap)
            picture.labelled(x, y, box_w, box_h, "box", name, note)
            picture.text(x + 9, y + 17, str(number), "note", "start")
            if c > 0:
                picture.arrow((x - gap + 3, y + box_h / 2), (x - 3, y + box_h / 2))
        if r + 1 < len(GROUPS):
            last = left + (len(members) - 1) * (box_w + gap) + box_w / 2
            first = left + box_w / 2
            middle = y + box_h + (row - box_h) / 2
            picture.arrow((last, y + box_h + 3), (last, middle), (first, middle), (first, y + row - 3))
    picture.save("layers.svg")


def batch() -> None:
    """Two inputs at the left, which meet in the language model; what comes of its logits at the right."""
    w, h, gap = 156, 72, 32
    x = [20 + i * (w + gap) for i in range(5)]
    top, middle, bottom = 40, 186, 306
    width, height = x[4] + w + 20, bottom + h + 20
    picture = Picture(
        width, height, "The way of a batch",
        "An image file becomes an Image, pixels, media tokens and latents. A question becomes a prompt, token ids and "
        "a Batch. The language model reads both and gives logits, which become an Answer or a loss.")
    picture.text(x[0], top - 14, "a picture", "group", "start")
    picture.labelled(x[0], top, w, h, "data", "image file", "PNG or JPEG")
    picture.labelled(x[1], top, w, h, "data", "Image", "resized, normalised:", "pixels [b, T, 3, S, S]")
    picture.labelled(x[2], top, w, h, "box", "vision tower", "gives media tokens", "[b, T, n, d]")
    picture.labelled(x[3], top, w, h, "box", "resampler", "gives latents", "[b, T, l, d]")
    picture.text(x[0], middle - 14, "a question", "group", "start")
    picture.labelled(x[0], middle, w, h, "data", "question", "a row of a data set")
    picture.labelled(x[1], middle, w, h, "data", "prompt", "the text, with <image>", "for the picture")
    picture.labelled(x[2], middle, w, h, "data", "Batch", "ids, mask and labels", "[b, time]")
    picture.labelled(x[3], middle, w, h, "box", "language model", "with gated blocks", "between its layers")
    picture.labelled(x[4], middle, w, h, "box", "logits", "[b, time, vocabulary]")
    picture.labelled(x[4], top, w, h, "data", "answer", "generation: the tokens", "chosen, decoded")
    picture.labelled(x[4], bottom, w, h, "data", "loss", "training: the logits", "against the labels")
    for y, columns in ((top, 3), (middle, 4)):
        for i in range(columns):
            picture.arrow((x[i] + w + 3, y + h / 2), (x[i + 1] - 3, y + h / 2))
    picture.arrow((x[3] + w / 2, top + h + 3), (x[3] + w / 2, middle - 3))
    picture.text(x[3] + w / 2 - 9, (top + h + middle) / 2 + 4, "read by the gated blocks", "note", "end")
    picture.arrow((x[4] + w / 2, middle - 3), (x[4] + w / 2, top + h + 3))
    picture.arrow((x[4] + w / 2, middle + h + 3), (x[4] + w / 2, bottom - 3))
    picture.arrow((x[2] + w / 2, middle + h + 3), (x[2] + w / 2, bottom + h / 2), (x[4] - 3, bottom + h / 2))
    picture.text(x[2] + w / 2 + 12, bottom + h / 2 - 8, "labels", "note", "start")
    picture.save("batch.svg")


if __name__ == "__main__":
    layers()
    batch()
