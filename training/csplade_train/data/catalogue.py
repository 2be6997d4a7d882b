"""The catalogue of training sources: one YAML that names each with its licence, exact version and quota."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import yaml

KINDS = ("cnxml", "markdown", "html", "wordnet")

LICENSE = re.compile(r"[\w.+-]+(?: (?:AND|OR|WITH) [\w.+-]+)*|public domain")
"""An SPDX expression (names need not be in the SPDX list), or no copyright at all."""


@dataclass(frozen=True)
class Source:
    """One source.

    kind: which reader; quota: the key of `Catalogue.quotas` it draws on; most: pairs
    it may give before quotas.  Origin is a public Git repository at a commit, with a
    regular expression of the files to read, or a Debian package at a version, with
    globs below /usr/share.
    """

    name: str
    title: str
    kind: str
    license: str
    quota: str
    repository: str = ""
    commit: str = ""
    files: str = ""
    package: str = ""
    version: str = ""
    globs: tuple[str, ...] = ()
    most: int = 12_000

    @property
    def origin(self) -> str:
        if self.repository:
            return f"github.com/{self.repository} at {self.commit[:12]}"
        return f"Debian package {self.package} {self.version}"


@dataclass(frozen=True)
class Catalogue:
    """All sources, the quotas of their groups, and the seed of every random choice."""

    sources: tuple[Source, ...]
    quotas: dict[str, int]
    seed: int


def load(path: Path) -> Catalogue:
    """Read and check a catalogue.  Raises ValueError naming the source and what is wrong with it."""
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    quotas = {str(k): int(v) for k, v in document["quotas"].items()}
    sources = []
    for entry in document["sources"]:
        name = entry.get("name", "a source without name")
        try:
            source = Source(**{**entry, "globs": tuple(entry.get("globs", ()))})
        except TypeError as reason:
            raise ValueError(f"{path}: {name}: {reason}") from reason
        problem = _problem(source, quotas)
        if problem:
            raise ValueError(f"{path}: {name}: {problem}")
        sources.append(source)
    repeated = [n for n, count in Counter(s.name for s in sources).items() if count > 1]
    if repeated:
        raise ValueError(f"{path}: named twice: {', '.join(repeated)}")
    return Catalogue(tuple(sources), quotas, int(document["seed"]))


def _problem(source: Source, quotas: dict[str, int]) -> str:
    if source.kind not in KINDS:
        return f"kind must be one of {', '.join(KINDS)}, not {source.kind!r}"
    if source.quota not in quotas:
        return f"quota {source.quota!r} is not among quotas"
    if not LICENSE.fullmatch(source.license):
        return f"license must be one for the whole source, by its SPDX name, not {source.license!r}"
    if source.repository and not re.fullmatch(r"[0-9a-f]{40}", source.commit):
        return "a repository needs a whole commit of 40 hexadecimal digits"
    if source.package and not (source.version and source.globs):
        return "a package needs a version and globs"
    if bool(source.repository) == bool(source.package):
        return "needs either a repository or a package"
    return ""


def markdown(catalogue: Catalogue, used: Counter[str] | None = None) -> str:
    """A table for a model card; `used` adds how many pairs each source gave."""
    head = "| Source | Licence | Version |"
    line = "|---|---|---|"
    rows = []
    for source in catalogue.sources:
        row = f"| {source.title} | {source.license} | {source.origin} |"
        if used is not None:
            row += f" {used[source.name]:,} |"
        rows.append(row)
    if used is not None:
        head, line = head + " Pairs |", line + "---:|"
    return "\n".join([head, line, *rows]) + "\n"
