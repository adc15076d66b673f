"""tokenizer_smollm2.json, tokenizer_small.json, bpe_small*/tokenizer.json: byte-level BPE by the tokenizers library.
usage: tokenizer.py SMOLLM2_GGUF"""
import json
import sys

from formula import HERE, write_json
from gguf import GGUFReader
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers

TEXTS = [
    "", " ", "  ", "   ", "\n", "\n\n", "\n\n\n", "\t", "\t\t", " \n ", "\r\n", " \t\n\r ", "a", " a", "  a", "   a", "a ", "a  ", "a\n", "a\n\nb", "a \n b",
    "Hello world", "Hello  world", "Hello   world!", "hello\tworld", "Question: What colour is it? Short answer:", "The quick brown fox jumps over the lazy dog.",
    "1", "12", "123456789", " 1", "  1", "   12", "\n1", "\n\n1. one\n2. two\n\n10. ten", "3.14159", "1,000,000", "v1.2.3-rc4", "2024-01-31T23:59:59Z", "a1b22c333",
    "x = 3  # 42", "\u00b2\u00b3\u00bd \u2167 \u0664\u0665 \u4e00\u4e8c \u096a\u096b",
    "I'm you're he's we'll they've I'd don't 'tis rock'n'roll", "I'M YOU'RE HE'S", "'s 's's ''s '", "it\u2019s \u201cquoted\u201d",
    "def f(x):\n    if x > 0:\n        return x * 2\n\n\treturn -1\n", "for (int i = 0; i < n; ++i) { a[i] += b[i]; }", "#include <vector>\nstd::vector<int> v{1, 2, 3};",
    "<div class=\"x\">&nbsp;</div>", "SELECT * FROM t WHERE a != 'b' -- c", "{\"k\": [1, null, true]}", "https://example.org/a?b=c&d=%20#e", "C:\\dir\\file.txt",
    "....", "!!!???", "---", "_ __ ___", "a_b__c", "$5 \u20ac6 \u00a37 %8", "(a)[b]{c}<d>", "\\n\\t", "@#$%^&*()",
    "caf\u00e9 na\u00efve \u00fcber \u0153uvre", "cafe\u0301 e\u0301\u0302", "Stra\u00dfe \u1e9e \u0130\u0131", "\u0417\u0434\u0440\u0430\u0432\u0441\u0442\u0432\u0443\u0439, \u043c\u0438\u0440!", "\u039a\u03b1\u03bb\u03b7\u03bc\u03ad\u03c1\u03b1",
    "\u4f60\u597d\uff0c\u4e16\u754c\u3002", "\u3053\u3093\u306b\u3061\u306f \u4e16\u754c", "\uc548\ub155\ud558\uc138\uc694", "\u0645\u0631\u062d\u0628\u0627 \u0628\u0627\u0644\u0639\u0627\u0644\u0645", "\u05e9\u05dc\u05d5\u05dd", "\u0928\u092e\u0938\u094d\u0924\u0947 \u0926\u0941\u0928\u093f\u092f\u093e", "\u0e2a\u0e27\u0e31\u0e2a\u0e14\u0e35",
    "\U0001f600", "a\U0001f600b", "\U0001f468\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466 family", "\U0001f44d\U0001f3fd \u2764\ufe0f \U0001f1eb\U0001f1f7", "\U0001d518\U0001d52b\U0001d526 \U00020000",
    "no\u00a0break \u2003em\u3000wide\u200bzero\u2028line\u2029para\u0085nel\u1680ogham", " \u00a0 x", "\u00a0\u00a0 1", "\x00\x01\x7f", "bell\x07 esc\x1b[0m", "\x0b\x0c\x1c\x1d\x1e\x1f x", "\ufeffbom", "\ufffd\uffff", "\ue000\U0010ffff",
    "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n", "<|endoftext|>", " <|endoftext|> ", "<|endoftext|><|endoftext|>x", "<|im_start", "<|im_start|", "|im_start|>", "<|im_<|im_end|>",
    "<image>Question: is it red? Short answer: yes<|endofchunk|>", "<image><image> <image>\n<|endofchunk|>", "<imag>e", "<<image>>", "<|endofchunk", "<filename>a.py<gh_stars>1",
    "supercalifragilisticexpialidocious", "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababababab", "ThisIsCamelCaseHTTPServer2Go", "x" * 200, " " * 33 + "x", "\n" * 17 + "end", "= " * 20,
]

# Our own words, enough for a few hundred merges.
TRAINING = [
    "The small model learns to read pictures and to answer questions about them.", "What colour is the circle? The circle is red.",
    "Is there a triangle in the image? Yes, there is a triangle in the image.", "How many shapes are there? There are two shapes: a square and a circle.",
    "Question: what shape is shown? Short answer: rectangle", "The adapters are trained while the language model is frozen.",
    "for i in range(10):\n    print(i)\n", "if (a == b) {\n    return a + b;\n}\n", "It's what we'll do; they've said they don't mind.",
    "Numbers such as 1, 22, 333 and 4444 are written with digits.", "Das ist ein k\u00fcrzerer Satz \u00fcber Bilder.", "\u042d\u0442\u043e \u043a\u043e\u0440\u043e\u0442\u043a\u043e\u0435 \u043f\u0440\u0435\u0434\u043b\u043e\u0436\u0435\u043d\u0438\u0435.", "\u8fd9\u662f\u4e00\u4e2a\u7b80\u77ed\u7684\u53e5\u5b50\u3002",
    "A picture is worth a thousand words, but a thousand words are easier to train on.", "The teal square touches the grey triangle near the bottom.",
]


def smollm2(path, split_digits=True):
    """The tokenizer in the GGUF: gpt2 model, pre-tokenizer "smollm" (single digits, then GPT-2's pattern), control tokens special."""
    fields = {k: f.contents() for k, f in GGUFReader(path).fields.items() if k.startswith("tokenizer.ggml.")}
    assert fields["tokenizer.ggml.pre"] == "smollm"
    tokens = fields["tokenizer.ggml.tokens"]
    vocab = {t: i for i, t in enumerate(tokens)}
    merges = [tuple(m.split(" ")) for m in fields["tokenizer.ggml.merges"]]
    tok = Tokenizer(models.BPE(vocab=vocab, merges=merges))
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    tok.pre_tokenizer = pre_tokenizers.Sequence(digits + [pre_tokenizers.ByteLevel(add_prefix_space=False)])
    tok.decoder = decoders.ByteLevel()
    kinds = fields["tokenizer.ggml.token_type"]
    tok.add_special_tokens([AddedToken(t, special=True, normalized=False) for t, k in zip(tokens, kinds) if k == 3])
    assert tok.get_vocab_size() == len(tokens)
    return tok


def small(digits):
    """A byte-level BPE of 500 entries, trained on the lines above."""
    tok = Tokenizer(models.BPE())
    level = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), level]) if digits else level
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=500, special_tokens=["<|endoftext|>"], show_progress=False,
                                  initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))
    tok.train_from_iterator(TRAINING, trainer)
    return tok


def store(tok, folder):
    path = HERE / folder
    path.mkdir(exist_ok=True)
    tok.save(str(path / "tokenizer.json"), pretty=False)
    return Tokenizer.from_file(str(path / "tokenizer.json"))


def cases(tok):
    rows = []
    for text in TEXTS:
        ids = tok.encode(text, add_special_tokens=False).ids
        rows.append(dict(text=text, ids=ids))
        decoded = tok.decode(ids, skip_special_tokens=False)
        if decoded != text:  # a byte that the vocabulary lacks is dropped
            rows[-1]["decoded"] = decoded
    return rows


def main(gguf):
    tok, plain = smollm2(gguf), smollm2(gguf, split_digits=False)
    rows = cases(tok)
    for row in rows:
        other = plain.encode(row["text"], add_special_tokens=False).ids
        if other != row["ids"]:
            row["ids_without_digit_split"] = other
    write_json("tokenizer_smollm2.json", dict(
        pre_tokenizer="smollm: every \\p{N} character alone, then GPT-2's pattern on each piece between", cases=rows))

    base = store(small(digits=False), "bpe_small")
    added = small(digits=True)
    added.add_special_tokens([AddedToken("<|endofchunk|>", special=True, normalized=False), AddedToken("<image>", special=True, normalized=False)])
    added = store(added, "bpe_small_added")
    write_json("tokenizer_small.json", dict(bpe_small=cases(base), bpe_small_added=cases(added)))


if __name__ == "__main__":
    main(sys.argv[1])
