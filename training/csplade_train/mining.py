"""Mining hard negatives: passages that BM25 or our own model ranks high for a query they do not belong to."""

from __future__ import annotations

import numpy as np
from scipy import sparse

from .evaluate import Vector
from .lexical import K1, B, LexicalTeacher
from .negatives import Negatives

CHUNK = 256
"""Queries scored at a time."""

FALSE_NEGATIVE = 0.95
"""A passage whose teacher score exceeds this share of the positive's is taken for another answer."""


def lexical_vectors(teacher: LexicalTeacher) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """BM25 as sparse vectors: idf-weighted queries [N, terms] and saturated documents [N, terms]."""
    number = {t: n for n, t in enumerate(teacher.idf)}
    q_rows, q_cols, q_values = [], [], []
    d_rows, d_cols, d_values = [], [], []
    for n, terms in enumerate(teacher.queries):
        for t in terms:
            if t in number:
                q_rows.append(n)
                q_cols.append(number[t])
                q_values.append(teacher.idf[t])
    for n, counts in enumerate(teacher.passages):
        norm = K1 * (1 - B + B * teacher.lengths[n] / teacher.average)
        for t, count in counts.items():
            d_rows.append(n)
            d_cols.append(number[t])
            d_values.append((K1 + 1) * count / (count + norm))
    shape = (len(teacher.queries), len(number))
    queries = sparse.csr_matrix((q_values, (q_rows, q_cols)), shape=shape, dtype=np.float32)
    documents = sparse.csr_matrix((d_values, (d_rows, d_cols)), shape=shape, dtype=np.float32)
    return queries, documents


def matrix(vectors: list[Vector], vocabulary: int) -> sparse.csr_matrix:
    """Sparse vectors as one matrix [N, vocabulary]."""
    starts = np.cumsum([0, *(len(i) for i, _ in vectors)])
    indices = np.concatenate([i for i, _ in vectors]) if vectors else np.zeros(0, np.int32)
    values = np.concatenate([v for _, v in vectors]) if vectors else np.zeros(0, np.float32)
    return sparse.csr_matrix((values, indices, starts), shape=(len(vectors), vocabulary))


def hardest(
    queries: sparse.csr_matrix, documents: sparse.csr_matrix, groups: list[str], count: int, skip: int = 0
) -> list[list[int]]:
    """For each query the `count` best passages of other groups after the first `skip`, best first."""
    numbers = {g: n for n, g in enumerate(dict.fromkeys(groups))}
    group = np.array([numbers[g] for g in groups])
    columns = documents.T.tocsc()
    result: list[list[int]] = []
    for start in range(0, queries.shape[0], CHUNK):
        scores = (queries[start : start + CHUNK] @ columns).toarray()
        for row, line in enumerate(scores):
            line[group == group[start + row]] = 0.0
            take = min(len(line), count + skip)
            best = np.argpartition(-line, take - 1)[:take]
            best = best[np.argsort(-line[best], kind="stable")]
            result.append([int(n) for n in best[skip:] if line[n] > 0])
    return result


def found_again(queries: list[str], passages: list[str], rank: int) -> list[int]:
    """Numbers of the queries with which BM25 finds their own passage among the first `rank` of all passages.

    passages[i] is that of queries[i]; the same passage may stand there several times and counts once.
    """
    asked, documents = lexical_vectors(LexicalTeacher(queries, passages))
    first = {p: n for n, p in reversed(list(enumerate(passages)))}
    columns = documents[sorted(first.values())].T.tocsc()
    own = np.asarray(asked.multiply(documents).sum(1)).ravel()
    kept: list[int] = []
    for start in range(0, len(queries), CHUNK):
        chunk = slice(start, start + CHUNK)
        ahead = ((asked[chunk] @ columns).toarray() > own[chunk, None] * (1 + 1e-6)).sum(1)
        kept += [start + n for n in np.flatnonzero((own[chunk] > 0) & (ahead < rank)).tolist()]
    return kept


def scored(numbers: list[list[int]], queries: np.ndarray, passages: np.ndarray, count: int) -> list[Negatives]:
    """Negatives with a dense teacher's scores (cosines of unit vectors [N, d]); likely answers are left out."""
    result = []
    for pair, mined in enumerate(numbers):
        positive = float(queries[pair] @ passages[pair])
        values = passages[mined] @ queries[pair] if mined else np.zeros(0, np.float32)
        kept = [(n, float(v)) for n, v in zip(mined, values, strict=True) if v < FALSE_NEGATIVE * positive][:count]
        if kept:
            result.append(Negatives(pair, tuple(n for n, _ in kept), positive, tuple(v for _, v in kept)))
    return result


def interleaved(first: list[list[int]], second: list[list[int]]) -> list[list[int]]:
    """Both miners' passages in turns, each once."""
    result = []
    for a, b in zip(first, second, strict=True):
        both = [n for pair in zip(a, b, strict=False) for n in pair] + a[len(b) :] + b[len(a) :]
        result.append(list(dict.fromkeys(both)))
    return result
