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
OPENINGS = (
    "please send me",
    "could someone point me to",
    "my question is about",
    "i want to learn about",
    "we need",
    "i have to write a report on",
    "does anyone know about",
    "help me understand",
    "looking for",
    "search for",
    "where can i read about",
    "why do people care about",
    "which books cover",
    "do you have",
    "is there anything on",
    "let me know about",
    "i wonder whether there is",
    "i have been reading about",
    "my students ask about",
    "our company needs",
    "he told me that i should look at",
    "i am not sure what to think of",
    "we'd like to hear of",
    "what do experts say on",
    "i'm writing about",
    "they are working on",
    "show me results on",
    "how would you handle",
    "i do not understand",
    "it would be good to have",
    "some background on",
    "anyone familiar with",
    "get me started with",
)
ENDINGS = (
    "thank you",
    "please",
    "if you can",
    "for a beginner",
    "for my thesis",
    "in simple words",
    "in detail",
    "as soon as possible",
    "or anything similar",
    "and what comes next",
    "which would help me a lot",
    "because i need it at work",
    "and why it matters",
    "in the last few years",
    "step by step",
    "and other such things",
    "both old and new",
    "that i could read",
    "that is worth knowing",
    "whether or not it is well known",
    "from any point of view",
    "although i may be wrong",
    "so that we can decide",
    "not just in one place",
    "rather than something else",
    "among others",
    "of whatever kind",
    "and its various aspects",
)
JOINS = ("{} and {}", "{}, especially {}", "{} in relation to {}", "{} as well as {}", "{}; also {}", "{}. {}")
LONGEST_WORDS = 190


def worded(query: str, rng: random.Random) -> str:
    """The query inside a request, as people write to a librarian."""
    core = query.strip().rstrip(".?!:")
    draw = rng.random()
    if draw < 0.4:
        return rng.choice(WRAPPERS).format(core)
    opening, ending = rng.choice(OPENINGS), rng.choice(ENDINGS)
    if draw < 0.6:
        return f"{opening} {core}"
    return f"{core}, {ending}" if draw < 0.7 else f"{opening} {core} {ending}"


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
