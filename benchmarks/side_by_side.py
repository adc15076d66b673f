"""What comparisons with other programs have in common: options, the machine, and files of results."""
import datetime
import json
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent


def option(words, name, default):
    """Takes an option and its value out of the words."""
    if name not in words:
        return default
    at = words.index(name)
    value = words[at + 1]
    del words[at:at + 2]
    return value


def output_of(command):
    """What a program prints; its failure ends this one."""
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"{command[:2]} failed:\n{done.stderr}")
    return done.stdout


def processor():
    lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "unknown")


def commit():
    git = ["git", "-C", str(HERE)]
    name = subprocess.run([*git, "rev-parse", "HEAD"], capture_output=True, text=True).stdout.strip()
    code = [":(top)", ":(top,exclude)benchmarks/results", ":(top,exclude)docs"]
    changes = subprocess.run([*git, "status", "--porcelain", "-uno", "--", *code], capture_output=True, text=True).stdout.strip()
    return name + (" (modified)" if changes else "")


def record(file, **entry):
    """Adds an entry, with commit, date and machine, to a file of them."""
    entry.update(commit=commit(), date=datetime.date.today().isoformat(), cpu=processor(),
                 cores=len(os.sched_getaffinity(0)))
    path = pathlib.Path(file)
    entries = json.loads(path.read_text()) if path.exists() else []
    aside = path.with_suffix(".tmp")
    aside.write_text(json.dumps(entries + [entry], indent=1) + "\n")
    aside.replace(path)
