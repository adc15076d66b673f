"""Runs shared work in turn with the Python peer and prints ratios of medians:
compare_with_peer.py PROGRAM [--rounds 3] [--record FILE] [arguments of both]"""
import json
import statistics
import subprocess
import sys

from side_by_side import HERE, option, output_of, record


def measure(command):
    return json.loads(output_of(command).strip().splitlines()[-1])


def card():
    names = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return names.stdout.splitlines()[0]


def main():
    program, *words = sys.argv[1:]
    rounds, file = int(option(words, "--rounds", 3)), option(words, "--record", None)
    sides = {"morphvlm": [program, *words], "peer": [sys.executable, str(HERE / "peer_step.py"), *words]}
    runs = {name: [] for name in sides}
    for i in range(rounds):
        for name, command in sides.items():
            runs[name].append(measure(command))
            print(f"round {i + 1} of {rounds}, {name}: {json.dumps(runs[name][-1])}", file=sys.stderr, flush=True)
    if len({r["trainable"] for side in runs.values() for r in side}) != 1:
        sys.exit("the two train different numbers of parameters; this is no comparison")
    median = lambda name, key: statistics.median(r[key] for r in runs[name])
    print(f"{'':14}{'morphvlm':>12}{'peer':>12}{'ratio':>9}")
    for key, higher_is_better in [("step_s", False), ("peak_rss_gib", False), ("peak_cuda_gib", False),
                                  ("tokens_per_s", True)]:
        if key in runs["peer"][0]:
            ours, theirs = median("morphvlm", key), median("peer", key)
            print(f"{key:14}{ours:12.3f}{theirs:12.3f}{(ours / theirs if higher_is_better else theirs / ours):8.2f}x")
    if file:
        record(file, arguments=words, runs=runs, **(dict(gpu=card()) if "cuda" in words else {}))


main()
