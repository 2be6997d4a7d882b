"""From the catalogue to the training file: get each source, read it, clean, shuffle, apply quotas."""

from __future__ import annotations

import random
import re
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from . import sources
from .catalogue import Catalogue, Source
from .pairs import Pair

MOST_FILES = 2500
"""Files of a manual read at most, after a shuffle."""

LARGEST_FILE = 3_000_000
"""Characters of a file that is still read."""

DEADLINE = 1800
"""Seconds that getting one source may take."""


class Store:
    """Where sources lie on this machine; what is missing is fetched from GitHub or Debian.

    cache holds `git/<owner>+<name>` and `debian/<package>=<version>/usr/share/…`;
    repositories, if given, is a folder of clones named `<owner>+<name>` or `<name>`,
    and unpacked a folder in which packages were unpacked already (it holds usr/share).
    """

    def __init__(self, cache: Path, repositories: Path | None = None, unpacked: Path | None = None) -> None:
        self.cache, self.repositories, self.unpacked = cache, repositories, unpacked

    def repository(self, source: Source) -> Path:
        """A Git directory that has the source's commit."""
        owner, _, name = source.repository.partition("/")
        named = f"{owner}+{name}"
        if self.repositories:
            for candidate in (self.repositories / named / "repo", self.repositories / named, self.repositories / name):
                if candidate.is_dir() and _has(candidate, source.commit):
                    return candidate
        directory = self.cache / "git" / named
        if not (directory.is_dir() and _has(directory, source.commit)):
            directory.mkdir(parents=True, exist_ok=True)
            _run("git", "init", "--quiet", "--bare", str(directory))
            url = f"https://github.com/{source.repository}"
            _run("git", "-C", str(directory), "fetch", "--quiet", "--depth", "1", url, source.commit)
        return directory

    def share(self, source: Source) -> Path:
        """The /usr/share of an unpacked package."""
        if self.unpacked and any(True for g in source.globs for _ in (self.unpacked / "usr" / "share").glob(g)):
            return self.unpacked / "usr" / "share"
        directory = self.cache / "debian" / f"{source.package}={source.version}".replace(":", "%3a")
        if not (directory / "usr" / "share").is_dir():
            directory.mkdir(parents=True, exist_ok=True)
            _run("apt-get", "download", f"{source.package}={source.version}", cwd=directory)
            _run("dpkg-deb", "-x", str(next(directory.glob("*.deb"))), str(directory))
        return directory / "usr" / "share"


def _run(*words: str, cwd: Path | None = None) -> str:
    try:
        end = subprocess.run(words, cwd=cwd, capture_output=True, text=True, check=False, timeout=DEADLINE)
    except FileNotFoundError as reason:
        raise FileNotFoundError(f"{words[0]} is not installed, and a source needs it") from reason
    if end.returncode != 0:
        raise ValueError(f"{' '.join(words)} ended with status {end.returncode}: {end.stderr.strip()[-400:]}")
    return end.stdout


def _has(repository: Path, commit: str) -> bool:
    end = subprocess.run(
        ["git", "-C", str(repository), "cat-file", "-e", f"{commit}^{{commit}}"], capture_output=True, check=False
    )
    return end.returncode == 0


def read(source: Source, store: Store, seed: int) -> list[Pair]:
    """All pairs of one source, in a fixed order.  Groups are paths inside the source, never of this machine."""
    if source.kind == "wordnet":
        return list(sources.wordnet_pairs(store.share(source) / source.globs[0], source.most, random.Random(seed)))
    if source.kind == "html":
        return _manual(source, store.share(source))
    rng = random.Random(source.repository.replace("/", "+"))
    pairs: list[Pair] = []
    wanted = re.compile(source.files)
    suffix = ".cnxml" if source.kind == "cnxml" else ".md"
    for name, text in sources.repository_files(store.repository(source), source.commit, suffix):
        if not wanted.fullmatch(name):
            continue
        if source.kind == "cnxml":
            book = source.name.rpartition("/")[2]
            pairs += sources.cnxml(text, source.name, f"{book}/{name.split('/')[-2]}", rng)
        else:
            pairs += sources.markdown(text, source.name, f"{source.name}/{name}", rng)
    return pairs


def _manual(source: Source, share: Path) -> list[Pair]:
    rng = random.Random(source.name)
    files = [f for g in source.globs for f in sorted(share.glob(g)) if f.is_file()]
    rng.shuffle(files)
    pairs: list[Pair] = []
    for file in files[:MOST_FILES]:
        text = file.read_text(encoding="utf-8", errors="replace")
        if len(text) > LARGEST_FILE:
            continue
        pairs += sources.html_manual(text, source.name, f"{source.name}/{file.relative_to(share)}", rng)
        if len(pairs) > source.most:
            break
    return pairs


def presentable(pair: Pair) -> bool:
    """False for the debris of manuals and textbooks: signatures, navigation, exercise headings."""
    words = pair.query.split()
    if pair.source.startswith("docs/") or pair.source == "turing-way":
        if len(words) < 2 or re.search(r"[_<>{}=()]|\w\.\w", pair.query):
            return False
        if len(words) > 2 and len(set(words)) < len(words) * 0.6:
            return False
        if re.search("previous .* next |Next topic|Total running time|Returns:|Parameters:", pair.passage):
            return False
    if re.search("learning objectives|section exercises|key terms|review questions", pair.query, re.IGNORECASE):
        return False
    return len(pair.passage.split()) >= 8 or pair.source == "wordnet"


def distinct(pairs: Iterator[Pair]) -> Iterator[Pair]:
    """Without repetitions and without scraps."""
    seen: set[tuple[str, str]] = set()
    for pair in pairs:
        key = (pair.query, pair.passage[:80])
        if key not in seen and len(pair.query) >= 3 and len(pair.passage) >= 20:
            seen.add(key)
            yield pair


def collect(catalogue: Catalogue, store: Store, say: Callable[[str], None]) -> list[Pair]:
    """The training pairs: every source read, cleaned and shuffled with the seed, each group cut to its quota."""
    found: list[Pair] = []
    for source in catalogue.sources:
        pairs = read(source, store, catalogue.seed)
        say(f"{source.name}: {len(pairs):,} pairs")
        if not pairs:
            raise ValueError(f"{source.name} gave no pair: its files moved, or the wrong version was read")
        found += pairs
    kept = list(distinct(iter(found)))
    random.Random(catalogue.seed).shuffle(kept)
    quota_of = {s.name: s.quota for s in catalogue.sources}
    taken: Counter[str] = Counter()
    result = []
    for pair in kept:
        quota = quota_of[pair.source]
        if taken[quota] < catalogue.quotas[quota] and presentable(pair):
            taken[quota] += 1
            result.append(pair)
    return result
