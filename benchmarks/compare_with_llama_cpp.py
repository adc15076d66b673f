"""Decodes with SmolLM2 here and by llama.cpp in turn, and prints medians of tokens a second:
compare_with_llama_cpp.py DECODE FOLDER_OF_LLAMA_BENCH MODEL.gguf [--rounds 3] [--record FILE]"""
import json
import os
import pathlib
import re
import statistics
import sys
import tempfile

from side_by_side import option, output_of, record

TOKENS = 128


def here(program):
    text = output_of([program, "--benchmark_filter=^smollm2/(fp32|bf16|nf4)/", "--benchmark_format=json"])
    entries = json.loads(text[text.index("{"):])["benchmarks"]
    return {re.sub("/(iterations|manual_time).*", "", e["name"]): e["tokens/s"] for e in entries}


def there(bench, files):
    threads = str(len(os.sched_getaffinity(0)))
    found = {}
    for file in files:
        text = output_of([bench, "-m", file, "-p", "0", "-n", str(TOKENS), "-t", threads, "-r", "2", "-o", "json"])
        for run in json.loads(text):
            found["llama.cpp/" + pathlib.Path(file).stem.split(".")[-1]] = run["avg_ts"]
    return found


def main():
    program, folder, model, *words = sys.argv[1:]
    rounds, file = int(option(words, "--rounds", 3)), option(words, "--record", None)
    tools = pathlib.Path(folder)
    runs = {}
    with tempfile.TemporaryDirectory() as scratch:
        wide = str(pathlib.Path(scratch) / "SmolLM2.BF16.gguf")
        output_of([str(tools / "llama-quantize"), "--allow-requantize", model, wide, "BF16"])
        for i in range(rounds):
            for name, rate in {**here(program), **there(str(tools / "llama-bench"), [model, wide])}.items():
                runs.setdefault(name, []).append(rate)
                print(f"round {i + 1} of {rounds}, {name}: {rate:.1f} tokens/s", file=sys.stderr, flush=True)
    for name, rates in runs.items():
        print(f"{name:20}{statistics.median(rates):10.1f} tokens/s")
    if file:
        record(file, tokens=TOKENS, model=pathlib.Path(model).name, runs=runs)


main()
