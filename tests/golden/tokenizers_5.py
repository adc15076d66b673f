"""tokenizers_5.json, llama_small/: folders of tokenizers as transformers 5.24.0 reads them."""
import copy
import io
import json
import os
import pathlib
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"

import sentencepiece
from transformers import AutoTokenizer

HERE = pathlib.Path(__file__).resolve().parent
SMALL = HERE / "llama_small"
MEDIA = ["<|endofchunk|>", "<image>"]
LINES = [
    "Mutations in BRCA1 increase the risk of breast cancer by 60-80 %.", "The picture shows a cat and a dog on a red mat.", "What is in the picture? It is a cat.",
    "Is this a dog? No, it is a cat that sits on a mat.", "The risk of the mutation is not known in 1998 and 2004.", "and the  cat   sat\ton the mat .",
]
TEXTS = [
    "", " ", "  ", "a", " a", "  a", "a ", "a  ", "the cat", " the  cat", "<image>", "<image>a", "<image> a", "<image>  a", "a<image>", "a <image> b", " <image>", "<image><image>the", "the<|endofchunk|>\nthe",
    "<s>a", "a</s> b", "<unk>", "a <unk> b", "\u2581a", " \u2581a", "a\u2581b", "a , b . do n't it 's", "in 1998\n\n\tand", "caf\u00e9 \u4f60\u597d \U0001f600\x00 e\u0301", "\u4f60\u4f60a\u4f60 \u4f60", "<0x41>", "<|endoftext|>the",
]


def small_model():
    """A SentencePiece BPE of 380 pieces with a byte for what it lacks, as LLaMA's."""
    out = io.BytesIO()  # a file's name would stand in the model
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(LINES), model_writer=out, model_type="bpe", vocab_size=380, byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, minloglevel=2, num_threads=1)
    SMALL.mkdir(exist_ok=True)
    (SMALL / "tokenizer.model").write_bytes(out.getvalue())


def load(config, model=None, base=None, patch=None):
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
        if model:
            shutil.copy(HERE / model, folder / "tokenizer.model")
        if base:
            root = json.loads((HERE / base).read_text(encoding="utf-8"))
            merge(root, patch or {})
            (folder / "tokenizer.json").write_text(json.dumps(root), encoding="utf-8")
        return AutoTokenizer.from_pretrained(str(folder))


def merge(root, patch):
    for key, value in patch.items():
        if isinstance(value, dict) and key == "model":
            merge(root[key], value)
        else:
            root[key] = value


def case(name, config, model=None, base=None, patch=None, texts=TEXTS):
    tok = load(config, model, base, copy.deepcopy(patch))
    size = len(tok)
    tok.add_special_tokens({"additional_special_tokens": MEDIA})
    rows = []
    for text in texts:
        ids = tok.encode(text, add_special_tokens=False)
        row = [text, ids]
        plain = tok.encode(text, add_special_tokens=False, split_special_tokens=True)
        decoded = [tok.decode(ids), tok.decode(ids, skip_special_tokens=True)]
        if plain != ids or decoded != [text, text]:
            row += decoded
        if plain != ids:
            row.append(plain)
        rows.append(row)
    bytes_cut = [tok.convert_tokens_to_ids(t) for t in ("<0xE4>", "<0xBD>", "\u2581a", "<0xE4>", "<0xBD>", "<0xA0>")] if "<0xE4>" in tok.get_vocab() else [70, 100]
    strange = [*bytes_cut, len(tok), len(tok) + 1000, *tok.encode("the", add_special_tokens=False)]
    out = dict(name=name, config=config, size=size, sequence=tok.encode("a"), roles=[tok.bos_token_id, tok.eos_token_id, tok.pad_token_id], strange=[strange, tok.decode(strange)], cases=rows)
    out.update({k: v for k, v in dict(model=model, base=base, patch=patch).items() if v})
    return out


def main():
    small_model()
    model = "llama_small/tokenizer.model"
    tok = load({"tokenizer_class": "LlamaTokenizer", "legacy": False}, model)
    with tempfile.TemporaryDirectory() as folder:
        tok.save_pretrained(folder)
        saved = json.loads((pathlib.Path(folder) / "tokenizer.json").read_text(encoding="utf-8"))
        config = json.loads((pathlib.Path(folder) / "tokenizer_config.json").read_text(encoding="utf-8"))
    (SMALL / "tokenizer.json").write_text(json.dumps(saved, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    base, space = "llama_small/tokenizer.json", "\u2581"
    backend, llama = {"tokenizer_class": "TokenizersBackend"}, {"tokenizer_class": "LlamaTokenizer"}
    bos = {"single": [{"SpecialToken": {"id": "<s>", "type_id": 0}}, {"Sequence": {"id": "A", "type_id": 0}}], "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 0}}],
           "special_tokens": {"<s>": {"id": "<s>", "ids": [1], "tokens": ["<s>"]}}, "type": "TemplateProcessing"}
    old = {"normalizer": {"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": space}, {"type": "Replace", "pattern": {"String": " "}, "content": space}]}, "pre_tokenizer": None, "post_processor": bos}
    meta = lambda **k: {"pre_tokenizer": {"type": "Metaspace", "replacement": space, **k}}
    with tempfile.TemporaryDirectory() as folder:
        load(backend, model).save_pretrained(folder)
        regex = {k: v for k, v in json.loads((pathlib.Path(folder) / "tokenizer.json").read_text(encoding="utf-8")).items() if k in ("normalizer", "pre_tokenizer", "decoder")}
    roles = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>"}
    cases = [
        case("as transformers 5 saves LLaMA", config, base=base),
        case("the same, by class alone", llama, base=base),
        case("the same, whatever the class", {**backend, **roles}, base=base),
        case("as transformers 4 saved LLaMA", {"tokenizer_class": "PreTrainedTokenizerFast", **roles, "pad_token": "<pad>", "add_bos_token": True}, base=base, patch=old),
        case("the same, read as LLaMA of transformers 5", {"tokenizer_class": "LlamaTokenizerFast", "legacy": False, **roles, "extra_special_tokens": ["<call>", {"content": "<x>", "lstrip": True, "rstrip": False, "normalized": False, "single_word": False, "__type": "AddedToken"}]}, base=base, patch=old),
        case("a space before each section", {**backend, **roles}, base=base, patch=meta(prepend_scheme="always", split=False)),
        case("no space", {**llama, "add_prefix_space": False, "legacy": False}, base=base),
        case("cut at spaces", {**backend, **roles}, base=base, patch=meta(prepend_scheme="always", split=True)),
        case("its older spelling", {**backend, **roles, "additional_special_tokens": ["<y>"]}, base=base, patch=meta(add_prefix_space=True)),
        case("as transformers 5 saves another model", {**backend, **roles}, base=base, patch=regex),
        case("without bytes", {**backend, **roles}, base=base, patch={"model": {"byte_fallback": False, "unk_token": "<unk>"}}),
        case("without bytes, each unknown by itself", {**backend, **roles}, base=base, patch={"model": {"byte_fallback": False, "fuse_unk": False, "unk_token": "<unk>"}, "decoder": {"type": "Metaspace", "replacement": space, "prepend_scheme": "always", "split": True}}),
        case("whole words before merges", {**backend, **roles}, base=base, patch={"model": {"ignore_merges": True}, **meta(prepend_scheme="always", split=True)}),
        case("a model of pieces alone", backend, model=model),
        case("the same, legacy", {**backend, "legacy": True}, model=model),
        case("the same, not legacy", {**backend, "legacy": False}, model=model),
        case("LLaMA's model of pieces, not legacy", {**llama, "legacy": False, "add_bos_token": True}, model=model),
    ]
    bytes_base = "bpe_small/tokenizer.json"
    step = lambda on: {"pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": on, "trim_offsets": True, "use_regex": True}}
    for cls in ("GPT2Tokenizer", "GPTNeoXTokenizerFast"):
        for told in (None, True, False):
            for here in (True, False):
                given = {"tokenizer_class": cls, "pad_token": "<pad>", **({} if told is None else {"add_prefix_space": told})}
                cases.append(case(f"{cls}: config {told}, file {here}", given, base=bytes_base, patch={**step(here), "normalizer": {"type": "NFC"} if "NeoX" in cls else None}, texts=["", "a", " a", "<image>a", "a <image>  b", "caf\u00e9 e\u0301", "<|endoftext|>the"]))
    body = ",\n".join(" {" + ", ".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in c.items() if k != "cases") + ', "cases": [\n'
                      + ",\n".join("  " + json.dumps(r, ensure_ascii=False, separators=(",", ":")) for r in c["cases"]) + "\n ]}" for c in cases)
    (HERE / "tokenizers_5.json").write_text("[\n" + body + "\n]\n", encoding="utf-8")


if __name__ == "__main__":
    main()
