"""tokenizers.json, biogpt_small/: SentencePiece, GPT-NeoX and BioGPT by transformers 4.57.6 (see README.md: it needs an environment of its own).
usage: tokenizers_hf.py MISTRAL_TOKENIZER_MODEL LLAMA_CPP_MODELS PUBMED_DATA"""
import collections
import gzip
import hashlib
import json
import pathlib
import re
import shutil
import sys
import tempfile

import sentencepiece
from sacremoses import MosesDetokenizer, MosesTokenizer
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import BioGptTokenizer, LlamaTokenizer, PreTrainedTokenizerFast

HERE = pathlib.Path(__file__).resolve().parent
ADDED = ["<|endofchunk|>", "<image>"]
LINES, BLOCK = 4096, 128

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\t", " \t \n ", "\r\n", "a", " a", "  a", "a ", "a  ", "a\n", "\na", "a \n b", "a\tb", "Hello world", "Hello  world", "Hello   world  ",
    "<image>", " <image>", "<image> ", " <image> ", "<image>a", "<image> a", "<image>  a", "a<image>", "a <image>", "a  <image>b", "<image><image>", "<image> <image>", "<|endofchunk|>", "a<|endofchunk|>\n",
    "<image>Question:Is it red? Short answer:yes<|endofchunk|>", "<image>Question: what is this? Short answer: a cat<|endofchunk|><image>Question: and this?", "<image>Output: A picture.<|endofchunk|>",
    "<s>", "</s>", "<s>a", "a</s>", "a </s> b", " <s> ", "<unk>", "a <unk> b", "<pad>", "<PAD>", "<imag>e", "<<image>>", "<|endofchunk", "< image >", "</w>", "a</w>b", "</s></s>x", "<0x41>", "<0x0A>",
    "\u2581", "\u2581a", "a\u2581b", " \u2581 a", "\u2581\u2581", "<image>\u2581a", "<|endoftext|>", "a <|endoftext|> b", "<|padding|>", "x" + " " * 24 + "y", "x" + " " * 25 + "y", "x" + " " * 60, " " * 23 + "\t", "  " * 6 + "\n",
    "caf\u00e9 na\u00efve \u00fcber \u0153uvre", "cafe\u0301 e\u0301\u0302 o\u0308\u0304", "A\u030angstro\u0308m \u212b \u2126 \ufb01 \u00bd", "\u1100\u1161\u11a8 \uac01", "\u0958 \u0915\u093c", "\u0344 \u0340", "Stra\u00dfe \u1e9e \u0130\u0131",
    "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440!", "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1", "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f \u4e16\u754c", "\uc548\ub155 \ud558\uc138\uc694", "\u0645\u0631\u062d\u0628\u0627", "\u05e9\u05b8\u05dc\u05d5\u05b9\u05dd",
    "\u0928\u092e\u0938\u094d\u0924\u0947", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35", "\u1798\u17b7\u1793", "\U0001f600", "a\U0001f600b", "\U0001f468\u200d\U0001f469\u200d\U0001f467", "\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f1eb\U0001f1f7", "\U0001d518\U0001d52b\U0001d526 \U00020000 \U00010400",
    "no\u00a0break \u2003em\u3000wide\u200bzero\u2028line\u2029para\u0085nel\u1680og", "\x00", "a\x00b", "\x01\x02 \x7f", "bell\x07 esc\x1b[0m", "\x0b\x0c\x1c\x1d\x1e\x1f x", "\ufeffbom", "\ufffd\uffff", "\ue000\U0010ffff", "soft\u00adhyphen", "\u200f\u202eabc\u202c",
    "1", "12", "12345", "3.14159", "1,000,000", "1,000, and 2,a b,3", "a,b", ",a", "a,", ",", ",,", "1,", "x2,y", "\u0663,\u0664", "v1.2.3-rc4", "2024-01-31", "10-20", "p<0.05", "P < .001", "95% CI, 1.2-3.4", "IL-2-induced", "a-b-c", "-a", "a-", "--", "a--b", "a - b", "\u2013 \u2014 x\u2013y",
    "...", "a...", "a... b", "a..b", "..", ".", "a.", "a. b", "a . b", "e.g. x", "i.e. this", "Fig. 2", "No. 5", "No. of", "no. 5", "Art. 3", "pp. 3-4", "pp. x", "Dr. Who", "Dr.", "Mr. Smith vs. Jones et al. said", "U.S. data", "U.S.", "E. coli", "sp. nov.", "approx. five", "et al. 2020", "Nov. 3", "(e.g.)", "ends here.'", "ends.' ", "it. Then. but",
    "can't won't it's I'm you're they've I'd we'll", "dogs' 'tis rock'n'roll", "1990's", "5' 3'UTR", "'a' 'b'", "''", "'", "a'", "'a", "a''b", "\u00e9'a a'\u00e9", "3'-end", "O'Neil's", "\u2019 it\u2019s \u201cq\u201d \u201ex\u201c", "\"quoted\" text \"", "say \"hi\" and \"bye\"", "`a` ``b''",
    "AT&T & co", "&amp; &lt;", "a|b", "<i>in vitro</i>", "x<y>z", "[1] (2) {3}", "a[0]", "#1 @me $5 \u20ac6 %7", "a/b", "a@b.org", "https://example.org/a?b=c&d=%20#e", "C:\\dir", "~ ^ _ __x__ = + *", "\u00a9\u00ae\u2122 \u00b1 \u00d7 \u2264 \u03b2-catenin \u00b5g/mL 10\u207b\u00b3 H\u2082O", "\u25cc \u135f \u0295 \u10d0", "$(5) [\u00bfque?] !a ?b", "DOTMULTI", "@-@", "a @-@ b", "&apos;s",
    "Mutations in BRCA1 (breast cancer type 1) increase risk by 60-80%, i.e. a lot.", "The IL-6/IL-6R axis; TNF-\u03b1, IFN-\u03b3: see Fig. 1A...", "We (n=23) found r = 0.87, P<0.0001.", "phenylalanine hydroxylase deficiency", "methylenetetrahydrofolate", "pneumonoultramicroscopicsilicovolcanoconiosis",
    "x" * 300, "ab" * 300, "aaaa" * 50 + " " + "." * 40, "\u00e9" * 100, "= " * 40, "Line one.\nLine two.\n\nLine three.",
]


def ids_hash(rows):
    return hashlib.sha256("\n".join(" ".join(map(str, r)) for r in rows).encode()).hexdigest()


def pubmed(folder):
    """The first lines of raw XML that hold a whole part of an abstract, with XML's entities resolved and inner markup left as it is."""
    lines = []
    with gzip.open(pathlib.Path(folder) / "pubmed21n1298.xml.gz", "rt", encoding="utf-8", newline="\n") as f:
        for line in f:
            begin = line.find("<AbstractText")
            end = line.find("</AbstractText>")
            if begin < 0 or end < 0:
                continue
            text = line[line.index(">", begin) + 1:end]
            for name, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
                text = text.replace(name, char)
            lines.append(text)
            if len(lines) == LINES:
                return lines


def blocks(encode, lines):
    rows = [encode(t) for t in lines]
    return [[sum(map(len, rows[i:i + BLOCK])), ids_hash(rows[i:i + BLOCK])[:16]] for i in range(0, len(rows), BLOCK)]


def case(tok, text, **more):
    ids = tok.encode(text, add_special_tokens=False)
    row = dict(text=text, ids=ids, **more)
    for key, skip in (("decoded", False), ("decoded_skip", True)):
        decoded = tok.decode(ids, skip_special_tokens=skip)
        if decoded != text:
            row[key] = decoded
    return row


def llama(model, legacy):
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "tokenizer.model"
        shutil.copy(model, path)
        tok = LlamaTokenizer(str(path), legacy=legacy)
        tok.add_special_tokens({"additional_special_tokens": ADDED})
        tok.add_special_tokens({"pad_token": "<PAD>"})
    assert tok.convert_tokens_to_ids(ADDED + ["<PAD>"]) == [32000, 32001, 32002] and len(tok) == 32003
    assert tok.encode("a")[0] == tok.bos_token_id == 1 and tok.encode("a")[-1] != tok.eos_token_id
    return tok


def sentence_piece(model, lines):
    old, new = llama(model, True), llama(model, False)
    rows = []
    for text in TEXTS:
        row = case(old, text)
        other = case(new, text)
        if other["ids"] != row["ids"]:
            row["ids_not_legacy"] = other["ids"]
        for key in ("decoded", "decoded_skip"):
            if other.get(key, text) != row.get(key, text):
                row[key + "_not_legacy"] = other.get(key, text)
        rows.append(row)
    return dict(cases=rows, pubmed=blocks(lambda t: old.encode(t), lines))


def gguf(path):
    from gguf import GGUFReader
    return {k: f.contents() for k, f in GGUFReader(path).fields.items() if k.startswith("tokenizer.ggml.")}


def neox_tokenizer(models_folder):
    """GPT-NeoX's tokenizer.json, from the GGUF: its padding entries are left out, runs of spaces are added tokens searched in normalized text."""
    fields = gguf(pathlib.Path(models_folder) / "ggml-vocab-gpt-neox.gguf")
    tokens = [t for t in fields["tokenizer.ggml.tokens"] if not re.fullmatch(r"\[PAD\d+\]", t)]
    assert len(tokens) == 50277
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
    tok = Tokenizer(models.BPE(vocab={t: i for i, t in enumerate(tokens) if i < 50254}, merges=merges))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t in tokens[:2]])
    tok.add_tokens([AddedToken(t, normalized=True, special=False) for t in tokens[50254:]])
    return tok


def neox(models_folder, lines):
    tok = neox_tokenizer(models_folder)
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<|endoftext|>", eos_token="<|endoftext|>", unk_token="<|endoftext|>", clean_up_tokenization_spaces=False)
    fast.add_special_tokens({"additional_special_tokens": ADDED})
    fast.add_special_tokens({"pad_token": "<PAD>"})
    assert fast.convert_tokens_to_ids(ADDED + ["<PAD>"]) == [50277, 50278, 50279] and len(fast) == 50280
    return dict(cases=[case(fast, t) for t in TEXTS], pubmed=blocks(lambda t: fast.encode(t), lines))


def single_word():
    """Added tokens of every kind in a tokenizer over bytes alone."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tok = Tokenizer(models.BPE(vocab={c: i for i, c in enumerate(alphabet)}, merges=[]))
    tok.normalizer = normalizers.NFC()
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.add_tokens([AddedToken("dog", single_word=True, normalized=False), AddedToken("cat", single_word=True, normalized=True, lstrip=True), AddedToken("<l>", lstrip=True, normalized=False),
                    AddedToken("<r>", rstrip=True, normalized=False), AddedToken("<b>", lstrip=True, rstrip=True, normalized=True), AddedToken("   ", normalized=True),
                    AddedToken("e\u0301x", normalized=True), AddedToken("o\u0308x", normalized=False)])
    texts = ["dog", "dogs", "hotdog", "a dog.", "dog dog", "dogdog", "_dog", "dog_", "dog-cat", "\u00e9dog", "dog\u00e9", "dog\u0301", "\u4f60dog", "dog\u200d", "dog\u203f", "dog\u2167", "dog1", "cat", "a  cat", "acat", "a  cats", "a \t<l> b", "<r> \n b", "a <b> <b> c", "  <b>",
             "<r>   x", "<r> <l> x", "<l>   <l>", "\u00e9x", "e\u0301x", "\u00f6x", "o\u0308x", "a   b    c", "dog   cat", "<r>dog", "<r> dogs", "a<l>dog"]
    return dict(tokenizer=json.loads(tok.to_str()), cases=[dict(text=t, ids=tok.encode(t, add_special_tokens=False).ids) for t in texts])


def bio_gpt_files(lines, folder):
    """A BPE of 1,200 merges with </w>, trained on words of the lines; rules carry a count behind them, as BioGPT's do."""
    moses, words = MosesTokenizer(lang="en"), collections.Counter()
    for line in lines[:1500]:
        words.update(moses.tokenize(line, aggressive_dash_splits=True, return_str=False, escape=True))
    splits = {w: [*w[:-1], w[-1] + "</w>"] for w in words}
    symbols = collections.Counter()
    for w, parts in splits.items():
        for p in parts:
            symbols[p] += words[w]
    pairs, where = collections.Counter(), collections.defaultdict(set)
    for w, parts in splits.items():
        for pair in zip(parts, parts[1:]):
            pairs[pair] += words[w]
            where[pair].add(w)
    merges = []
    for _ in range(1200):
        best = max(pairs, key=lambda p: (pairs[p], p))
        merges.append((best, pairs[best]))
        for w in list(where[best]):
            parts = splits[w]
            for pair in zip(parts, parts[1:]):
                pairs[pair] -= words[w]
                where[pair].discard(w)
            new, i = [], 0
            while i < len(parts):
                if tuple(parts[i:i + 2]) == best:
                    new.append(parts[i] + parts[i + 1])
                    i += 2
                else:
                    new.append(parts[i])
                    i += 1
            splits[w] = new
            for pair in zip(new, new[1:]):
                pairs[pair] += words[w]
                where[pair].add(w)
        del pairs[best]
    common = sorted(s for s, n in symbols.items() if n >= 20)
    tokens = list(dict.fromkeys(["<s>", "<pad>", "</s>", "<unk>"] + common + ["".join(m) for m, _ in merges]))
    del tokens[-7:]  # so that some merges make what the vocabulary lacks
    folder.mkdir(exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps({t: i for i, t in enumerate(tokens)}, ensure_ascii=False, separators=(",", ":")) + "\n", encoding="utf-8")
    (folder / "merges.txt").write_text("".join(f"{a} {b} {n}\n" for (a, b), n in merges), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BioGptTokenizer", "model_max_length": 1024}\n')


def bio_gpt(lines):
    folder = HERE / "biogpt_small"
    bio_gpt_files(lines, folder)
    tok = BioGptTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    tok.add_special_tokens({"additional_special_tokens": ADDED})
    base = tok.vocab_size
    assert tok.convert_tokens_to_ids(ADDED) == [base, base + 1] and tok.encode("a")[0] == 2 and tok.pad_token_id == 1
    moses, back = MosesTokenizer(lang="en"), MosesDetokenizer(lang="en")
    rows = []
    for text in TEXTS:
        words = moses.tokenize(text, aggressive_dash_splits=True, return_str=False, escape=True)
        rows.append(case(tok, text, words=words, detokenized=back.detokenize(words)))
    text_hash = hashlib.sha256("\n".join(tok.decode(tok.encode(t)) for t in lines).encode()).hexdigest()
    return dict(vocab_size=base, cases=rows, pubmed=blocks(lambda t: tok.encode(t), lines), pubmed_decoded=text_hash)


def moses_classes():
    """Number and hash of the code points in each class of characters."""
    t, d = MosesTokenizer(lang="en"), MosesDetokenizer(lang="en")
    sets = dict(letter=t.IsAlpha, letter_or_digit=t.IsAlnum, number=t.IsN, lower=t.IsLower, plain_letter=d.IsAlpha, currency=d.IsSc)
    out = {}
    for name, chars in sets.items():
        points = sorted({ord(c) for c in chars} - {10})
        out[name] = [len(points), hashlib.sha256(" ".join(map(str, points)).encode()).hexdigest()]
    return out


def main(mistral, models_folder, pubmed_folder):
    lines = pubmed(pubmed_folder)
    result = dict(lines=[len(lines), hashlib.sha256("\n".join(lines).encode()).hexdigest()], moses_classes=moses_classes(), added=single_word(), bio_gpt=bio_gpt(lines),
                  sentence_piece=sentence_piece(mistral, lines), neox=neox(models_folder, lines))
    body = []
    for key, value in result.items():
        if isinstance(value, dict) and "cases" in value:
            rest = ", ".join(f"{json.dumps(k)}: {json.dumps(v, ensure_ascii=False)}" for k, v in value.items() if k != "cases")
            cases = ",\n".join("  " + json.dumps(c, ensure_ascii=False, separators=(",", ":")) for c in value["cases"])
            body.append(f' {json.dumps(key)}: {{{rest + ", " if rest else ""}"cases": [\n{cases}\n ]}}')
        else:
            body.append(f" {json.dumps(key)}: {json.dumps(value)}")
    (HERE / "tokenizers.json").write_text("{\n" + ",\n".join(body) + "\n}\n", encoding="utf-8")
    assert sentencepiece.__version__


if __name__ == "__main__":
    main(*sys.argv[1:])
