"""The lexical teacher: BM25 over English stems, scores as shares of what the query could reach."""

from __future__ import annotations

import math
import re
from collections import Counter

import Stemmer
import torch
from torch import Tensor

WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
STOP_WORDS = frozenset(
    [
        "a",
        "an",
        "and",
        "are",
        "as",
        "at",
        "be",
        "but",
        "by",
        "for",
        "from",
        "has",
        "have",
        "how",
        "i",
        "if",
        "in",
        "into",
        "is",
        "it",
        "its",
        "me",
        "my",
        "no",
        "not",
        "of",
        "on",
        "or",
        "our",
        "so",
        "such",
        "that",
        "the",
        "their",
        "them",
        "then",
        "there",
        "these",
        "they",
        "this",
        "to",
        "was",
        "we",
        "were",
        "what",
        "when",
        "where",
        "which",
        "who",
        "why",
        "will",
        "with",
        "would",
        "you",
        "your",
        "can",
        "do",
        "does",
        "about",
        "any",
        "been",
        "could",
        "find",
        "give",
        "had",
        "more",
        "should",
        "some",
        "than",
        "us",
        "very",
        "may",
        "might",
        "must",
        "also",
    ]
)
K1, B = 1.2, 0.75


class LexicalTeacher:
    """BM25 with document frequencies of one corpus; texts are named by their number there."""

    def __init__(self, queries: list[str], passages: list[str]) -> None:
        self.stemmer = Stemmer.Stemmer("english")
        self.queries = [sorted(set(self.stems(q))) for q in queries]
        self.passages = [Counter(self.stems(p)) for p in passages]
        self.lengths = [sum(c.values()) for c in self.passages]
        self.average = sum(self.lengths) / max(1, len(self.lengths))
        frequency = Counter(t for c in self.passages for t in c)
        n = len(passages)
        self.idf = {t: math.log1p((n - f + 0.5) / (f + 0.5)) for t, f in frequency.items()}
        self.unseen = math.log1p((n + 0.5) / 0.5)

    def stems(self, text: str) -> list[str]:
        return self.stemmer.stemWords([w for w in WORD.findall(text.lower()) if w not in STOP_WORDS])

    def scores(self, rows: list[int], documents: list[int] | None = None) -> Tensor:
        """[B, D] BM25 of the rows' queries for the documents (the rows themselves), as a share of the best possible."""
        documents = rows if documents is None else documents
        result = torch.zeros(len(rows), len(documents))
        for i, q in enumerate(rows):
            terms = [(t, self.idf.get(t, self.unseen)) for t in self.queries[q]]
            mass = (K1 + 1) * sum(w for _, w in terms) or 1.0
            for j, d in enumerate(documents):
                counts = self.passages[d]
                norm = K1 * (1 - B + B * self.lengths[d] / self.average)
                score = sum(w * (K1 + 1) * counts[t] / (counts[t] + norm) for t, w in terms if t in counts)
                result[i, j] = score / mass
        return result
