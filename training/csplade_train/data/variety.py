"""Variety that real collections have and neat pairs lack: lengths of documents, wordiness of questions.

Headings and single paragraphs are all short and all of one length.  A model trained
on them alone never learns that a long document's words count less, nor that
"I am looking for articles about" means nothing.
"""

from __future__ import annotations

import random
from collections import defaultdict

from .pairs import Pair, sentences

WRAPPERS = (
    "i am looking for articles about {}",
    "i am interested in {}",
    "i would like to find out more about {}",
    "please give me any information on {}",
    "find all documents that discuss {}",
    "are there any papers that deal with {}",
    "what has been written about {}",
    "what is currently known about {}",
    "has anyone investigated {}",
    "can anybody explain {} to me",
    "list of publications concerning {}",
    "i need references on the subject of {}",
    "what methods exist for {}",
    "what problems arise with {}",
    "which approaches have been tried for {}",
    "what are the effects of {}",
    "how can one deal with {}",
    "how important is {} and why",
    "give an overview of {}",
    "who has worked on {} and what did they find",
    "any material describing {} would be useful",
    "is there something about {} available",
    "what are the main ideas behind {}",
    "what should i know about {}",
    "theoretical or practical work on {}",
    "the role of {}",
    "recent studies related to {}",
    "tell me about {}",
)
JOINS = ("{} and {}", "{}, especially {}", "{} in relation to {}", "{} as well as {}", "{}; also {}", "{}. {}")
LONGEST_WORDS = 190


def worded(query: str, rng: random.Random) -> str:
    """The query inside a request, as people write to a librarian."""
    return rng.choice(WRAPPERS).format(query.strip().rstrip(".?!:"))


def shortened(passage: str, rng: random.Random) -> str:
    """The first one to three sentences, or a first sentence cut short: documents can be mere titles."""
    parts = sentences(passage)
    if len(parts) > 1 and rng.random() < 0.6:
        return " ".join(parts[: rng.randint(1, min(3, len(parts)))])
    words = passage.split()
    return " ".join(words[: rng.randint(8, 30)])


def varied(
    pairs: list[Pair], seed: int, wordy: float = 0.3, joined: float = 0.08, short: float = 0.2, long: float = 0.2
) -> list[Pair]:
    """The same pairs with some queries made wordy or joined, some passages cut or lengthened.

    The four shares are independent probabilities.  A passage is lengthened with
    another of its own document, a query joined with one of its own document whose
    passage then joins too.
    """
    rng = random.Random(seed)
    members: dict[str, list[int]] = defaultdict(list)
    for n, pair in enumerate(pairs):
        members[pair.group].append(n)
    result: list[Pair] = []
    for pair in pairs:
        query, passage = pair.query, pair.passage
        others = members[pair.group]
        other = pairs[rng.choice(others)] if len(others) > 1 else None
        if other is not None and (other is pair or other.passage in passage):
            other = None
        draw = rng.random()
        if other is not None and rng.random() < joined and len((query + other.query).split()) < 40:
            query = rng.choice(JOINS).format(query.rstrip(".?!:"), other.query)
            passage = f"{passage} {other.passage}"
        elif other is not None and draw < long:
            passage = f"{passage} {other.passage}" if rng.random() < 0.5 else f"{other.passage} {passage}"
        elif draw > 1 - short and pair.source != "wordnet":
            passage = shortened(passage, rng)
        if pair.source != "wordnet" and len(query.split()) < 18 and rng.random() < wordy:
            query = worded(query, rng)
        words = passage.split()
        if len(words) > LONGEST_WORDS:
            passage = " ".join(words[:LONGEST_WORDS])
        result.append(Pair(query, passage, pair.source, pair.group))
    return result
