"""Unpacks data files out of source distributions, without building or running anything in them.

usage: fetch_sdist.py LOCK FOLDER

A line of LOCK: NAME==VERSION sha256:HASH TARGET MEMBER... , where a MEMBER is a pattern of paths below the
distribution's top folder. The files land in FOLDER/TARGET, by their base names. The package index is the one that
pip is set to.
"""
import fnmatch
import hashlib
import html.parser
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.parse
import urllib.request

from pip._internal.models.index import PyPI


def index_url():
    if url := os.environ.get("PIP_INDEX_URL"):
        return url
    found = subprocess.run([sys.executable, "-m", "pip", "config", "get", "global.index-url"],
                           capture_output=True, text=True)
    return found.stdout.strip() if found.returncode == 0 else PyPI.simple_url


class Links(html.parser.HTMLParser):
    def __init__(self, base):
        super().__init__()
        self.base, self.urls = base, []

    def handle_starttag(self, tag, attributes):
        if tag == "a" and (href := dict(attributes).get("href")):
            self.urls.append(urllib.parse.urljoin(self.base, href).partition("#")[0])


def find(name, version):
    page = f"{index_url().rstrip('/')}/{re.sub(r'[-_.]+', '-', name).lower()}/"
    with urllib.request.urlopen(page, timeout=180) as reply:
        links = Links(reply.geturl())
        links.feed(reply.read().decode())
    wanted = {f"{spelling}-{version}.tar.gz" for spelling in (name, name.replace("-", "_"))}
    for url in links.urls:
        if urllib.parse.unquote(url.rpartition("/")[2]) in wanted:
            return url
    sys.exit(f"fetch_sdist: {page} lists no {' or '.join(sorted(wanted))}")


def download(url, expected, target):
    digest = hashlib.sha256()
    with urllib.request.urlopen(url, timeout=180) as reply:
        while chunk := reply.read(1 << 20):
            digest.update(chunk)
            target.write(chunk)
    if digest.hexdigest() != expected:
        sys.exit(f"fetch_sdist: {url}: expected sha256 {expected}, found {digest.hexdigest()}")
    target.seek(0)


def unpack(archive, patterns, folder):
    found = dict.fromkeys(patterns, 0)
    with tarfile.open(fileobj=archive, mode="r:gz") as tar:
        for member in tar:
            path = member.name.partition("/")[2]
            for pattern in patterns:
                if member.isfile() and fnmatch.fnmatchcase(path, pattern):
                    found[pattern] += 1
                    with open(folder / os.path.basename(path), "wb") as out:
                        shutil.copyfileobj(tar.extractfile(member), out)
    if missing := [pattern for pattern, count in found.items() if count == 0]:
        sys.exit(f"fetch_sdist: nothing in the archive matches {', '.join(missing)}")


def main():
    lock, target = map(pathlib.Path, sys.argv[1:3])
    for line in lock.read_text().splitlines():
        if not line or line.startswith("#"):
            continue
        requirement, digest, place, *patterns = line.split()
        name, version = requirement.split("==")
        folder = target / place
        fresh = target / f".{name}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        with tempfile.TemporaryFile() as archive:
            download(find(name, version), digest.removeprefix("sha256:"), archive)
            unpack(archive, patterns, fresh)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        fresh.rename(folder)


if __name__ == "__main__":
    main()
