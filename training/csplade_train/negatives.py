"""Mined hard negatives and teacher scores, by pair number: the file between mining, scoring and training.

One JSON line a query: `{"pair": 12, "score": 9.1, "negatives": [{"pair": 77, "score": 3.4}, …]}`.
A pair's number is its line in pairs.jsonl, from 0.  Scores may be missing; any
cross-encoder can add them (`csplade-train mine --texts` writes the texts too).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Negatives:
    """Negatives of one query: passages by pair number; scores of the positive and of each, if known."""

    pair: int
    passages: tuple[int, ...]
    score: float | None = None
    scores: tuple[float, ...] = ()


def read(path: Path, pairs: int) -> dict[int, Negatives]:
    """All lines by pair number.  Raises ValueError for a number beyond `pairs` or scores that are incomplete."""
    result: dict[int, Negatives] = {}
    with open(path, encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            row = json.loads(line)
            entries = row["negatives"]
            passages = tuple(int(e["pair"]) for e in entries)
            scores = tuple(float(e["score"]) for e in entries if "score" in e)
            score = float(row["score"]) if "score" in row else None
            if max((row["pair"], *passages)) >= pairs:
                raise ValueError(f"{path}, line {number}: names a pair beyond the {pairs} of the pairs file")
            if len(scores) not in (0, len(passages)) or (scores and score is None):
                raise ValueError(f"{path}, line {number}: either every passage has a score or none")
            result[int(row["pair"])] = Negatives(int(row["pair"]), passages, score, scores)
    return result


def renumbered(mined: dict[int, Negatives], kept: list[int]) -> dict[int, Negatives]:
    """The same for a selection of pairs: `kept[i]` was the number of the pair that is now i."""
    now = {old: new for new, old in enumerate(kept)}
    result = {}
    for old, entry in mined.items():
        if old not in now:
            continue
        there = [k for k, p in enumerate(entry.passages) if p in now]
        scores = tuple(entry.scores[k] for k in there) if entry.scores else ()
        passages = tuple(now[entry.passages[k]] for k in there)
        result[now[old]] = Negatives(now[old], passages, entry.score, scores)
    return result


def write(path: Path, found: Iterable[Negatives], texts: tuple[list[str], list[str]] | None = None) -> int:
    """Write one line a query; `texts`, (queries, passages), are added for scoring elsewhere."""
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for n in found:
            entries: list[dict[str, object]] = [{"pair": p} for p in n.passages]
            row: dict[str, object] = {"pair": n.pair}
            if n.score is not None:
                row["score"] = round(n.score, 5)
                for entry, score in zip(entries, n.scores, strict=True):
                    entry["score"] = round(score, 5)
            if texts is not None:
                row |= {"query": texts[0][n.pair], "positive": texts[1][n.pair]}
                for entry, p in zip(entries, n.passages, strict=True):
                    entry["text"] = texts[1][p]
            out.write(json.dumps(row | {"negatives": entries}, ensure_ascii=False) + "\n")
            count += 1
    return count
