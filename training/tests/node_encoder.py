"""What `csplade encode` gives in Node for a checkpoint directory: the encoder that searches with it."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

PROJECT = Path(__file__).parents[2]
COMMAND = PROJECT / "dist" / "src" / "cli" / "main.js"


@cache
def built() -> Path:
    """The command, compiled from what the sources say now; nothing is done where they have not changed."""
    compiler = PROJECT / "node_modules" / "typescript" / "bin" / "tsc"
    subprocess.run(["node", compiler, "-p", PROJECT / "tsconfig.json"], check=True, timeout=300)
    return COMMAND


@dataclass(frozen=True)
class Encoded:
    """A passage and its weights by token id."""

    text: str
    terms: dict[int, float]


def encode(checkpoint: Path, texts: list[str], role: str, more: dict[str, str] | None = None) -> list[Encoded]:
    """The passages of the texts; more: settings by their name in the environment.

    A question is one passage whatever its length, a blank text none.
    """
    node = shutil.which("node")
    assert node is not None, "Node.js is needed"
    words = [node, str(built()), "encode", "--json", "--model", str(checkpoint)]
    words += ["--query"] if role == "query" else []
    ended = subprocess.run(
        [*words, "--", *texts],
        capture_output=True,
        text=True,
        timeout=120,
        env={"CSPLADE_MODEL_THREADS": "1", **(more or {})},
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    found = []
    for line in map(json.loads, ended.stdout.splitlines()):
        terms = {int(term["id"]): float(term["weight"]) for term in line["terms"]}
        assert len(terms) == len(line["terms"]), "no id twice"
        found.append(Encoded(line["text"], terms))
    return found


def assert_same(got: list[Encoded], expected: np.ndarray, within: float = 1e-4) -> None:
    """The same ids, and weights within the tolerance; expected [passages, V].

    An id may lack that weighs next to nothing: below 1e-5 the two may differ in a score's sign.
    """
    for passage, row in zip(got, expected, strict=True):
        wanted = {int(i): float(row[i]) for i in np.flatnonzero(row > 0)}
        both = {i: (passage.terms.get(i, 0.0), wanted.get(i, 0.0)) for i in wanted.keys() | passage.terms.keys()}
        lone = {i: pair for i, pair in both.items() if min(pair) == 0.0 and max(pair) > 1e-5}
        assert not lone, (passage.text[:60], lone)
        apart = {i: pair for i, pair in both.items() if abs(pair[0] - pair[1]) >= within}
        assert not apart, (passage.text[:60], apart)
