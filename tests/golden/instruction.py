"""instruction.json: prompts, tokens, labels and row orders of Multimodal-GPT's own data sets. Argument: its checkout."""
import importlib
import json
import pathlib
import random
import sys
import tempfile
import types

import torch
from formula import write_json


class Letters:
    """A tokenizer of one id a character, 1 in front; what the data sets use of a transformers tokenizer."""

    eos_token_id, pad_token_id, media, add_eos_token, padding_side = 2, 0, 300, False, "right"

    def __call__(self, text, max_length=None, truncation=False, add_special_tokens=True, **unused):
        ids = [1] if add_special_tokens else []
        for i, piece in enumerate(text.split("<image>")):
            ids += ([self.media] if i else []) + [ord(c) for c in piece]
        ids = ids[:max_length] if truncation else ids
        return dict(input_ids=ids, attention_mask=[1] * len(ids))

    def pad(self, rows, **unused):
        longest = max(map(len, rows["input_ids"]))
        fill = lambda lists, value: torch.tensor([l + [value] * (longest - len(l)) for l in lists])
        return dict(input_ids=fill(rows["input_ids"], 0), attention_mask=fill(rows["attention_mask"], 0), labels=fill(rows["labels"], -100))


def modules(root):
    """The data sets one by one: the package's own start needs more than is used here."""
    for name in ("mmgpt", "mmgpt.datasets", "mmgpt.train", "mmgpt.datasets.samplers"):
        package = types.ModuleType(name)
        package.__path__ = [str(pathlib.Path(root, *name.split(".")))]
        sys.modules[name] = package
    return {n: importlib.import_module(f"mmgpt.datasets.{n}") for n in ("vqa_dataset", "aokvqa_dataset", "dolly_dataset", "alpaca_gpt4_dataset", "baize_dataset", "samplers.infinite_sampler")}


VQA = [dict(image="", question="What colour?", answer=["red", "blue", "blue", "red", "green"]), dict(image="", question="Is it?", answer=["yes"] * 3),
       dict(image="", question="How many dogs?", answer=["2", "two", "2", "3"]), dict(image="", question="Why?\n", answer=["fun", "sun"])]
AOKVQA = [dict(image="", question="What is in his mouth?", choices=["toothpick", "food", "cigarette"], correct_choice_idx=2, rationales=["He smokes.", "It is lit.", "So."])] * 4
DOLLY = [dict(instruction="What is it?", context="", response="A thing."), dict(instruction="Sum up.", context="Long\ntext.", response="Short."),
         dict(instruction="Count " * 90, context="", response="one " * 30)]
ALPACA = [dict(instruction="Find the odd one.", input="a, b, 3", output="3"), dict(instruction="Say hi", input="", output="hi")]
BAIZE = ["The conversation. [|Human|] Why\nso?[|AI|] Because\n it is.[|Human|] And now? [|AI|] Yes.[|Human|] ", "Start [|Human|] One[|AI|] Two[|Human|] "]


def batch(data, rows):
    items = [data[i] for i in rows]
    for item in items:
        item.setdefault("image", torch.zeros(1))
    out = data.collater(items)
    return {k: out[k].tolist() for k in ("input_ids", "attention_mask", "labels")}


def main(root):
    m = modules(root)
    folder = pathlib.Path(tempfile.mkdtemp())
    put = lambda name, text: (folder / name).write_text(text) and str(folder / name)

    def make(cls, name, rows, lines=False):
        path = put(name, "\n".join(map(json.dumps, rows)) if lines else json.dumps(rows))
        return cls(Letters(), ann_path=path)

    def make_vqa(cls, name, rows):
        data = cls(Letters(), None, "", [put(name, json.dumps(rows))])
        data.process_image = lambda ann: torch.zeros(1)
        return data

    vqa = make_vqa(m["vqa_dataset"].VQADataset, "vqa.json", VQA)
    aokvqa = make_vqa(m["aokvqa_dataset"].AOKVQADataset, "aokvqa.json", AOKVQA)
    dolly = make(m["dolly_dataset"].DollyDataset, "dolly.jsonl", DOLLY, lines=True)
    alpaca = make(m["alpaca_gpt4_dataset"].AlpacaGPT4Dataset, "alpaca.json", ALPACA)
    baize = make(m["baize_dataset"].BaiZeDataset, "baize.json", [dict(input=t) for t in BAIZE])
    text = lambda d: [d["instruction"], d["answer"]]
    random.seed(3)
    vqa_texts = [text(vqa.process_text(a)) for a in VQA * 3]
    aokvqa_texts = [text(aokvqa.process_text(a)) for a in AOKVQA]
    random.seed(4)
    batches = dict(vqa=batch(vqa, [0, 1]), dolly=batch(dolly, [0, 1, 2]), alpaca=batch(alpaca, [0, 1]), baize=batch(baize, [0, 1]))
    order = []
    sampler = torch.utils.data.distributed.DistributedSampler(range(7), num_replicas=1, rank=0, shuffle=True, drop_last=True)
    texts = iter(torch.utils.data.DataLoader(range(5), batch_size=3, sampler=m["samplers.infinite_sampler"].InfiniteSampler(range(5)), collate_fn=list))
    for epoch in range(3):
        sampler.set_epoch(epoch)
        for rows in torch.utils.data.DataLoader(range(7), batch_size=3, sampler=sampler, collate_fn=list):
            order.append([rows, next(texts)])
    write_json("instruction.json", dict(vqa=VQA, vqa_texts=vqa_texts, aokvqa=AOKVQA[0], aokvqa_texts=aokvqa_texts, dolly=DOLLY, alpaca=ALPACA, baize=BAIZE,
                                        dolly_texts=[text(dolly.process_text(a)) for a in DOLLY], alpaca_texts=[text(alpaca.process_text(a)) for a in ALPACA],
                                        baize_texts=[[text(t) for t in baize.process_text(dict(input=b))] for b in BAIZE], batches=batches, order=order))


if __name__ == "__main__":
    main(sys.argv[1])
