"""The pair: a short query-like text and a passage that answers it; and ways to cut pairs from text."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

WORDS_PER_PASSAGE = 110
MIN_WORDS = 25
SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z(\"'])")
QUESTIONS = (
    "what is {}",
    "what is meant by {}",
    "explain {}",
    "how does {} work",
    "what is known about {}",
    "papers on {}",
    "information about {}",
    "what are the properties of {}",
    "describe {}",
    "how is {} used",
)


@dataclass(frozen=True)
class Pair:
    """`group` names the document, so that passages of one document are not each other's negatives."""

    query: str
    passage: str
    source: str
    group: str


def tidy(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def question(topic: str, rng: random.Random) -> str:
    """The topic itself, or inside a question template."""
    topic = topic.strip().rstrip(".?!:")
    return rng.choice(QUESTIONS).format(topic) if rng.random() < 0.4 else topic


def sentences(text: str) -> list[str]:
    return [s for s in SENTENCE_END.split(tidy(text)) if s]


def passages(text: str, words: int = WORDS_PER_PASSAGE) -> list[str]:
    """Runs of whole sentences of about `words` words; the last short run is dropped."""
    result: list[str] = []
    current: list[str] = []
    count = 0
    for sentence in sentences(text):
        length = len(sentence.split())
        if length > 2 * words:
            continue
        if count + length > words and count >= MIN_WORDS:
            result.append(" ".join(current))
            current, count = [], 0
        current.append(sentence)
        count += length
    if count >= MIN_WORDS:
        result.append(" ".join(current))
    return result


def crop(passage: str, rng: random.Random) -> tuple[str, str] | None:
    """One sentence (or part of it) as the query, the rest as the passage."""
    parts = sentences(passage)
    if len(parts) < 3:
        return None
    n = rng.randrange(len(parts))
    words = parts[n].split()
    if len(words) < 6:
        return None
    if len(words) > 24:
        start = rng.randrange(len(words) - 18)
        words = words[start : start + rng.randint(8, 18)]
    rest = parts[:n] + parts[n + 1 :]
    if rng.random() < 0.3:
        # Sometimes the words stay in the passage: exact matches must go on counting.
        rest = parts
    return " ".join(words), " ".join(rest)


def from_section(
    heading: str, context: str, text: str, source: str, group: str, rng: random.Random, crops: float = 0.5
) -> Iterator[Pair]:
    """Pairs of one section: its heading to a passage, and sentences cropped from passages.

    `context` is the title of the document; it joins a heading that says little alone.
    """
    pieces = passages(text)
    for n, passage in enumerate(pieces):
        if n < 2 and heading:
            topic = heading if len(heading.split()) > 2 or not context else f"{context} {heading}"
            head = f"{heading}. {passage}" if rng.random() < 0.25 else passage
            yield Pair(question(topic, rng), head, source, group)
        if rng.random() < crops:
            cut = crop(passage, rng)
            if cut:
                title = f"{heading}. " if heading and rng.random() < 0.3 else ""
                yield Pair(cut[0], title + cut[1], source, group)


def split_by_group(pairs: list[Pair], dev: int, seed: int) -> tuple[list[int], list[int]]:
    """Numbers of (training, held-out) pairs: whole documents are held out, one pair of each."""
    rng = random.Random(seed)
    groups = sorted({p.group for p in pairs})
    rng.shuffle(groups)
    held = set(groups[:dev])
    training = [n for n, p in enumerate(pairs) if p.group not in held]
    first: dict[str, int] = {}
    for n, p in enumerate(pairs):
        if p.group in held:
            first.setdefault(p.group, n)
    return training, [first[g] for g in groups[:dev]]


def write(path: Path, pairs: Iterable[Pair]) -> int:
    count = 0
    with open(path, "w", encoding="utf-8") as out:
        for pair in pairs:
            out.write(json.dumps(asdict(pair), ensure_ascii=False) + "\n")
            count += 1
    return count


def read(path: Path) -> list[Pair]:
    with open(path, encoding="utf-8") as lines:
        return [Pair(**json.loads(line)) for line in lines]
