"""The lexical part of a vector: stemmed whole words with the weights of BM25, beside the model's own terms.

A causal LM's pieces are no words: "deadlocks" is "dead", "l", "ocks", and no
training of a small model makes up for what BM25 knows from stems, counts and
lengths.  So a vector is the sum of two parts in one space of terms, much as CLEAR
(Gao et al. 2021) lets a learned part complete BM25:

    document  w(t) = u sqrt(idf_t) (k1 + 1) tf / (tf + k1 (1 - b + b len / length)) + a_d m(t)
    query     w(t) = count sqrt(idf_t) / u                                          + a_q m(t)

m(t) is the largest weight that the model gives to any row of its vocabulary that is
a form of t.  The dot product of the first summands is BM25 exactly, with the idf of
the training texts; an index's own idf can take its place when a query is asked.
A term is a stem; its id is the first row that is a form of it, else a hash.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path

import regex
import Stemmer
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from torch import Tensor

from .lexical import STOP_WORDS
from .tokenizer import PAD_TOKEN, token_bytes

FILE = "lexicon.json"
"""Its file in a checkpoint directory."""

RUN = regex.compile(r"[\p{L}\p{N}\p{M}]+")
IDEOGRAPHS = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\u30fc]+")
"""With the long vowel sign, which is of neither syllabary alone."""

PLAIN = regex.compile(r"[a-z]+")
LONGEST_WORD = 64
"""Code points; longer words are encoded data, no words."""

CLITICS = frozenset(["s", "t", "d", "ll", "ve", "re", "don", "doesn", "isn", "aren", "m"])
"""What an apostrophe leaves of "doesn't" or "we'll"."""

HASHED = 0x8000_0000
"""Ids from here on are hashes of stems that no row of the vocabulary stands for."""

LONGEST = 4.0
"""How many times the ordinary length a text may have before its words weigh no less for it."""

ROLES = ("document", "query")


def folded(text: str) -> str:
    """A text in NFKC and lower case, a final sigma written as any other, as the tokenizer writes it."""
    lower = unicodedata.normalize("NFKC", text).lower().replace("\u03c2", "\u03c3")
    return unicodedata.normalize("NFKC", lower)


def words(text: str) -> list[str]:
    """Words of a text in lower case: runs of letters, digits and marks; Chinese and Japanese in bigrams."""
    found: list[str] = []
    for run in RUN.findall(folded(text)):
        at = 0
        for stretch in IDEOGRAPHS.finditer(run):
            found.append(run[at : stretch.start()])
            signs = stretch.group()
            found += [signs[i : i + 2] for i in range(max(1, len(signs) - 1))]
            at = stretch.end()
        found.append(run[at:])
    return [w for w in found if 0 < len(w) <= LONGEST_WORD]


def hashed_id(stem: str) -> int:
    """FNV-1a of the UTF-8 bytes, 31 bits of it, from HASHED on."""
    value = 0x811C9DC5
    for byte in stem.encode():
        value = ((value ^ byte) * 0x01000193) & 0xFFFFFFFF
    return HASHED + (value >> 1)


@dataclass(frozen=True)
class Lexicon:
    """Document frequencies of stems in the training texts, and the constants of the formula above."""

    documents: int
    document_frequencies: dict[str, int]
    stop_words: frozenset[str] = STOP_WORDS | CLITICS
    idf_range: tuple[float, float] = (0.02, 9.0)
    k1: float = 1.2
    b: float = 0.75
    length: float = 60.0
    unit: float = 0.7
    model_weight: dict[str, float] = field(default_factory=lambda: {"document": 0.6, "query": 0.6})
    expansions: dict[str, int] = field(default_factory=lambda: {"query": 5})
    """Most terms that the model may add to a text's own words, by role; {} leaves as many as fit."""
    query_terms: int | None = None
    """Most terms of a query, its own words and the model's together; the encoder of `src/` heeds it."""
    model_terms: str = "shared"
    """`shared`: the model's weights add to those of the words; `apart`: its terms meet only each other."""

    @staticmethod
    def of(texts: Iterable[str], least: int = 2, **constants: float) -> Lexicon:
        """The lexicon of texts; stems of fewer than `least` texts count as never seen."""
        empty = Lexicon(0, {})
        counts: Counter[str] = Counter()
        documents = 0
        for text in texts:
            counts.update(set(empty.stems(text)))
            documents += 1
        kept = {t: n for t, n in sorted(counts.items()) if n >= least}
        return Lexicon(documents, kept, **constants)  # type: ignore[arg-type]

    def stems(self, text: str) -> list[str]:
        """Stems of the words that count; a text of stop words alone keeps them."""
        found = words(text)
        counted = [w for w in found if w not in self.stop_words] or found
        return [stem(w) for w in counted]

    def idf(self, term: str) -> float:
        n = self.document_frequencies.get(term, 0)
        low, high = self.idf_range
        return min(high, max(low, math.log1p((self.documents - n + 0.5) / (n + 0.5))))

    def weights(self, text: str, role: str) -> dict[str, float]:
        """The lexical part of a text's vector by stem; role is "document" or "query"."""
        counts = Counter(self.stems(text))
        if role == "query":
            return {t: n * math.sqrt(self.idf(t)) / self.unit for t, n in counts.items()}
        norm = self.k1 * (1 - self.b + self.b * min(counts.total() / self.length, LONGEST))
        scale = self.unit * (self.k1 + 1)
        return {t: scale * math.sqrt(self.idf(t)) * n / (n + norm) for t, n in counts.items()}

    def best(self, text: str) -> float:
        """The score that no document can pass by the query's words alone; above 0."""
        return (self.k1 + 1) * sum(n * self.idf(t) for t, n in Counter(self.stems(text)).items()) or 1.0

    def to_json(self) -> str:
        document = {
            "format": 1,
            "stemmer": "porter2",
            "stop_words": sorted(self.stop_words),
            "documents": self.documents,
            "document_frequencies": self.document_frequencies,
            "idf_range": list(self.idf_range),
            "k1": self.k1,
            "b": self.b,
            "length": self.length,
            "unit": self.unit,
            "model_weight": self.model_weight,
            **({"expansions": self.expansions} if self.expansions else {}),
            **({"query_terms": self.query_terms} if self.query_terms is not None else {}),
            **({"model_terms": self.model_terms} if self.model_terms != "shared" else {}),
        }
        return json.dumps(document, ensure_ascii=False, separators=(",", ":")) + "\n"

    def write(self, directory: Path) -> Path:
        path = directory / FILE
        path.write_text(self.to_json(), encoding="utf-8")
        return path

    @staticmethod
    def read(path: Path) -> Lexicon:
        """Raises ValueError for a file of another format."""
        d = json.loads(path.read_text(encoding="utf-8"))
        if d.get("format") != 1 or d.get("stemmer") != "porter2":
            raise ValueError(f"{path} is no lexicon of format 1 with Porter2 stems")
        return Lexicon(
            documents=d["documents"],
            document_frequencies=d["document_frequencies"],
            stop_words=frozenset(d["stop_words"]),
            idf_range=(d["idf_range"][0], d["idf_range"][1]),
            expansions=d.get("expansions", {}),
            query_terms=d.get("query_terms"),
            model_terms=d.get("model_terms", "shared"),
            **{name: d[name] for name in ("k1", "b", "length", "unit", "model_weight")},
        )


def lexicon_of(directory: Path) -> Lexicon | None:
    """The lexicon of a checkpoint or run directory, if it has one."""
    path = directory / FILE
    return Lexicon.read(path) if path.exists() else None


_STEMMER = Stemmer.Stemmer("english")


def stem(word: str) -> str:
    """Porter2 of a word of the letters a to z; any other word is its own stem."""
    return _STEMMER.stemWord(word) if PLAIN.fullmatch(word) else word


class TermSpace:
    """Which rows of a vocabulary are forms of which term, and a column for every term.

    Columns of rows' terms come first, in the order of their ids; `column` gives a
    new one to any other stem it is asked for.
    """

    def __init__(self, tokenizer: Tokenizer, lexicon: Lexicon) -> None:
        vocabulary = tokenizer.get_vocab(with_added_tokens=False)
        self._wordpiece = isinstance(tokenizer.model, WordPiece)
        self.lexicon = lexicon
        self.ids: list[int] = []
        """The term id of each column."""
        self._columns: dict[str, int] = {}
        columns = [-1] * (max(vocabulary.values()) + 1)
        for token, row in sorted(vocabulary.items(), key=lambda p: p[1]):
            term = self._term_of(token)
            if term is None:
                continue
            if term not in self._columns:
                self._columns[term] = len(self.ids)
                self.ids.append(row)
            columns[row] = self._columns[term]
        self.of_row = torch.tensor(columns)
        """The column [V] of each row's term, -1 for rows that are forms of none."""
        self._form_rows = torch.nonzero(self.of_row >= 0)[:, 0]
        """Rows that are forms of a term."""
        self._form_columns = self.of_row[self._form_rows]
        """The columns of their terms."""
        self.known = len(self.ids)
        """How many terms have rows."""

    def _term_of(self, token: str) -> str | None:
        if token == PAD_TOKEN:
            return None
        if self._wordpiece:
            # Pieces that go on a word say so; all others begin one.
            text = "" if token.startswith("##") else " " + token
        else:
            try:
                text = token_bytes(token).decode()
            except UnicodeDecodeError:
                return None
        word = folded(text[1:])
        if not text.startswith(" ") or len(word) < 2 or words(word) != [word]:
            return None
        return None if word in self.lexicon.stop_words else stem(word)

    def row(self, term: str) -> int | None:
        """The row that stands for a term, if one does."""
        column = self._columns.get(term, self.known)
        return self.ids[column] if column < self.known else None

    def column(self, term: str) -> int:
        if term not in self._columns:
            self._columns[term] = len(self.ids)
            self.ids.append(hashed_id(term))
        return self._columns[term]

    def part(self, texts: list[str], role: str, width: int) -> Tensor:
        """Lexical parts [len(texts), width]; columns beyond `width` fold onto those behind `known`."""
        result = torch.zeros(len(texts), width)
        for n, text in enumerate(texts):
            for term, weight in self.lexicon.weights(text, role).items():
                c = self.column(term)
                result[n, c if c < width else self.known + (c - self.known) % (width - self.known)] += weight
        return result

    def grouped(self, weights: Tensor, width: int) -> Tensor:
        """The model's weights [B, V] by term [B, width]: the largest among each term's forms."""
        rows, columns = self._form_rows.to(weights.device), self._form_columns.to(weights.device)
        result = weights.new_zeros(len(weights), width)
        return result.scatter_reduce(1, columns.expand(len(weights), -1), weights[:, rows], "amax")

    def joined(
        self, text: str, rows: Iterable[int], weights: Iterable[float], role: str, top_k: int
    ) -> dict[int, float]:
        """A text's vector, column by weight: both parts added up, the `top_k` heaviest."""
        result = {self.column(t): w for t, w in self.lexicon.weights(text, role).items()}
        own = set(result)
        best: dict[int, float] = {}
        for row, weight in zip(rows, weights, strict=True):
            c = int(self.of_row[row])
            if c >= 0 and weight > best.get(c, 0.0):
                best[c] = weight
        share = self.lexicon.model_weight[role]
        for c, weight in best.items():
            result[c] = result.get(c, 0.0) + share * weight
        ranked = sorted(result.items(), key=lambda p: -p[1])
        if role in self.lexicon.expansions:
            added = [c for c, _ in ranked if c not in own]
            left_out = set(added[self.lexicon.expansions[role] :])
            ranked = [(c, w) for c, w in ranked if c not in left_out]
        return dict(ranked[:top_k])
