"""Runs shared work in turn with the Python peer and prints ratios of medians:
compare_with_peer.py PROGRAM [--rounds 3] [--record FILE] [arguments of both]"""
import datetime
import json
import os
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def option(words, name, default):
    if name not in words:
        return default
    at = words.index(name)
    value = words[at + 1]
    del words[at:at + 2]
    return value


def measure(command):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[:2]} failed:\n{done.stderr}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def card():
    names = subprocess.run(["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True)
    return names.stdout.splitlines()[0]


def commit():
    git = ["git", "-C", str(HERE)]
    name = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    changes = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True).stdout.strip()
    return name + (" (modified)" if changes else "")


def main():
    program, *words = sys.argv[1:]
    rounds, record = int(option(words, "--rounds", 3)), option(words, "--record", None)
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
    if record:
        entry = dict(arguments=words, commit=commit(), date=datetime.date.today().isoformat(), cpu=processor(),
                     cores=len(os.sched_getaffinity(0)), runs=runs)
        if "cuda" in words:
            entry["gpu"] = card()
        path = pathlib.Path(record)
        entries = json.loads(path.read_text()) if path.exists() else []
        aside = path.with_suffix(".tmp")
        aside.write_text(json.dumps(entries + [entry], indent=1) + "\n")
        aside.replace(path)


main()
