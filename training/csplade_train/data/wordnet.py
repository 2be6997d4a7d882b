"""Reader of the WordNet 3.0 database files (`data.noun` and its kin).  WordNet licence, permissive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Synset:
    """One sense: its lemmas, its definition and its example sentences."""

    lemmas: tuple[str, ...]
    definition: str
    examples: tuple[str, ...]


def read(directory: Path) -> Iterator[Synset]:
    """All synsets of nouns, verbs, adjectives and adverbs, in file order."""
    for part in ("noun", "verb", "adj", "adv"):
        with open(directory / f"data.{part}", encoding="latin-1") as lines:
            for line in lines:
                if line.startswith("  "):
                    continue
                fields, _, gloss = line.partition(" | ")
                cells = fields.split(" ")
                count = int(cells[3], 16)
                lemmas = tuple(cells[4 + 2 * n].split("(")[0].replace("_", " ") for n in range(count))
                pieces = [p.strip() for p in gloss.strip().split(";")]
                examples = tuple(p.strip('"') for p in pieces if p.startswith('"'))
                definition = "; ".join(p for p in pieces if not p.startswith('"'))
                yield Synset(lemmas, definition, examples)
