"""Exact retrieval in memory: dot products of pruned, 9-bit weights; nDCG@10, MRR@10, Recall@100."""

from __future__ import annotations

import json
import math
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from tokenizers import Tokenizer

from .batches import padded
from .input_recipe import RoleInput, tokens_read
from .lexicon import Lexicon, TermSpace
from .model import SparseEncoder

Vector = tuple[np.ndarray, np.ndarray]
"""Term indices (int32) and weights (float32) of one text."""


class Encoder(Protocol):
    """Anything that turns token ids into sparse vectors."""

    def encode(self, rows: list[list[int]], k: int) -> list[Vector]: ...


def truncate_weight(weights: np.ndarray) -> np.ndarray:
    """Keep 9 significant bits, as Lucene's feature fields do (sign, exponent and 8 bits of fraction)."""
    return (weights.astype(np.float32).view(np.int32) & ~np.int32((1 << 15) - 1)).view(np.float32)


def by_length(rows: list[list[int]], tokens: int) -> list[list[int]]:
    """Batches of row numbers of similar length, of at most `tokens` padded tokens each."""
    order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
    batches: list[list[int]] = []
    for n in order:
        width = max(1, len(rows[n]))
        if batches and (len(batches[-1]) + 1) * width <= tokens:
            batches[-1].append(n)
        else:
            batches.append([n])
    return batches


class TorchEncoder:
    """The float model under bfloat16 autocast, on the device where it lies."""

    def __init__(self, model: SparseEncoder, tokens: int = 2048) -> None:
        self.model, self.tokens = model, tokens

    @torch.no_grad()
    def encode(self, rows: list[list[int]], k: int) -> list[Vector]:
        self.model.eval()
        device = self.model.bias.device
        result: list[Vector] = [(np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(rows)
        for batch in by_length(rows, self.tokens):
            ids, mask = padded([rows[n] for n in batch])
            with torch.autocast(device.type, dtype=torch.bfloat16):
                weights = self.model(ids.to(device), mask.to(device)).cpu()
            values, indices = weights.topk(min(k, weights.shape[1]), dim=1)
            for n, v, i in zip(batch, values.numpy(), indices.numpy(), strict=True):
                result[n] = (i[v > 0].astype(np.int32), v[v > 0])
        return result


class OnnxEncoder:
    """A checkpoint directory through ONNX Runtime."""

    def __init__(self, directory: Path, threads: int = 4, tokens: int = 2048) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(
            str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"]
        )
        self.tokens = tokens

    def encode(self, rows: list[list[int]], k: int) -> list[Vector]:
        result: list[Vector] = [(np.zeros(0, np.int32), np.zeros(0, np.float32))] * len(rows)
        for batch in by_length(rows, self.tokens):
            ids, mask = padded([rows[n] for n in batch])
            feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "k": np.array([k], dtype=np.int64)}
            indices, values = self.session.run(["indices", "weights"], feed)
            for n, v, i in zip(batch, values, indices, strict=True):
                result[n] = (i[v > 0], v[v > 0])
        return result


class Questioner:
    """A checkpoint whose questions have their own terms alone, read as questions."""

    def __init__(self, encoder: Encoder, factors: np.ndarray) -> None:
        """factors [V]: what the weights of a question's own tokens are multiplied with."""
        self.encoder, self.factors = encoder, factors

    def encode(self, rows: list[list[int]], k: int) -> list[Vector]:
        result = []
        for row, (indices, weights) in zip(rows, self.encoder.encode(rows, k), strict=True):
            weights = np.where(np.isin(indices, row), weights * self.factors[indices], 0.0).astype(np.float32)
            result.append((indices[weights > 0], weights[weights > 0]))
        return result


class TableQuestioner:
    """Questions whose terms are their own tokens, by weights [V] of a table."""

    def __init__(self, weights: np.ndarray, repeated: str) -> None:
        """repeated: whether a token that occurs twice counts "once" or as the "sum"."""
        self.weights, self.repeated = weights, repeated

    def encode(self, rows: list[list[int]], k: int) -> list[Vector]:
        result = []
        for row in rows:
            indices, counts = np.unique(np.array(row, dtype=np.int32), return_counts=True)
            weights = self.weights[indices] * (counts if self.repeated == "sum" else 1)
            heaviest = np.argsort(-weights, kind="stable")[:k]
            kept = heaviest[weights[heaviest] > 0]
            result.append((indices[kept], weights[kept].astype(np.float32)))
        return result


def joined_vectors(space: TermSpace, texts: list[str], vectors: list[Vector], role: str, top_k: int) -> list[Vector]:
    """Vectors with their lexical parts; indices are columns of `space`."""
    result = []
    for text, (rows, weights) in zip(texts, vectors, strict=True):
        terms = space.joined(text, rows.tolist(), weights.tolist(), role, top_k)
        result.append((np.array(list(terms), dtype=np.int32), np.array(list(terms.values()), dtype=np.float32)))
    return result


def joined_sides(
    space: TermSpace,
    asked: list[str],
    queries: list[Vector],
    texts: list[str],
    documents: list[Vector],
    top_k: dict[str, int],
) -> tuple[list[Vector], list[Vector], int]:
    """Queries' and documents' vectors with their lexical parts, and how many columns of `space` there are then."""
    # New words get columns in this order, and a run's training goes on with them: queries stay first.
    queries = joined_vectors(space, asked, queries, "query", top_k["query"])
    documents = joined_vectors(space, texts, documents, "document", top_k["document"])
    return queries, documents, len(space.ids)


def recalibrated(space: TermSpace, text: str, vector: Vector, found: np.ndarray, documents: int) -> Vector:
    """A query's vector with its words' idf taken from an index: found[c] of its documents have the term of column c."""
    lexicon = space.lexicon
    terms = dict(zip(vector[0].tolist(), vector[1].tolist(), strict=True))
    low, high = lexicon.idf_range
    for term, count in Counter(lexicon.stems(text)).items():
        c = space.column(term)
        n = int(found[c]) if c < len(found) else 0
        if c not in terms:
            continue
        idf = min(high, max(low, math.log1p((documents - n + 0.5) / (n + 0.5))))
        known = lexicon.idf(term)
        terms[c] += count * (idf - known) / (math.sqrt(known) * lexicon.unit)
        if n == 0 or terms[c] <= 0:
            del terms[c]
    return np.array(list(terms), dtype=np.int32), np.array(list(terms.values()), dtype=np.float32)


@dataclass(frozen=True)
class Collection:
    """A test collection in BEIR form."""

    name: str
    documents: dict[str, str]
    queries: dict[str, str]
    relevant: dict[str, dict[str, int]]


def load_collection(directory: Path) -> Collection:
    documents: dict[str, str] = {}
    with open(directory / "corpus.jsonl", encoding="utf-8") as lines:
        for line in lines:
            row = json.loads(line)
            documents[row["_id"]] = f"{row.get('title', '')} {row['text']}".strip()
    with open(directory / "queries.jsonl", encoding="utf-8") as lines:
        queries = {row["_id"]: row["text"] for row in map(json.loads, lines)}
    relevant: dict[str, dict[str, int]] = {}
    for line in (directory / "qrels" / "test.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        if int(grade) > 0:
            relevant.setdefault(query, {})[document] = int(grade)
    return Collection(directory.name, documents, queries, relevant)


def score_matrix(queries: list[Vector], documents: list[Vector], vocabulary: int) -> np.ndarray:
    """Dot products [len(queries), len(documents)]."""
    dense: np.ndarray = np.zeros((len(queries), vocabulary), dtype=np.float32)
    for n, (i, v) in enumerate(queries):
        dense[n, i] = v
    result: np.ndarray = np.zeros((len(queries), len(documents)), dtype=np.float32)
    for n, (i, v) in enumerate(documents):
        result[:, n] = dense[:, i] @ truncate_weight(v)
    return result


def ranking_figures(
    scores: np.ndarray, query_ids: list[str], document_ids: list[str], relevant: dict[str, dict[str, int]]
) -> dict[str, float]:
    """Mean nDCG@10 (gain = grade), MRR@10 and Recall@100."""
    ndcg, mrr, recall = [], [], []
    for row, query in enumerate(query_ids):
        wanted = relevant.get(query)
        if not wanted:
            continue
        order = np.argsort(-scores[row], kind="stable")[:100]
        found = [document_ids[n] for n in order if scores[row, n] > 0]
        gains = [wanted.get(d, 0) for d in found[:10]]
        gained = sum(g / math.log2(r + 2) for r, g in enumerate(gains))
        ideal = sum(g / math.log2(r + 2) for r, g in enumerate(sorted(wanted.values(), reverse=True)[:10]))
        ndcg.append(gained / ideal)
        mrr.append(next((1.0 / (r + 1) for r, g in enumerate(gains) if g > 0), 0.0))
        recall.append(len(set(found) & set(wanted)) / len(wanted))
    return {
        "ndcg@10": float(np.mean(ndcg)),
        "mrr@10": float(np.mean(mrr)),
        "recall@100": float(np.mean(recall)),
        "queries": len(ndcg),
    }


def evaluate(
    encoder: Encoder,
    tokenizer: Tokenizer,
    collection: Collection,
    limits: dict[str, int],
    top_k: dict[str, int],
    lexicon: Lexicon | None = None,
    corpus_idf: bool = False,
    around: dict[str, RoleInput] | None = None,
    questioner: Encoder | None = None,
) -> dict[str, float]:
    """Figures of one collection, with the average number of terms per query and document.

    corpus_idf: the queries' words weigh by their frequencies in the collection's own vectors; around: what the model
    reads around a text of each role, nothing without it; questioner: what encodes queries, if it is not `encoder`.
    """
    around = around or {"document": RoleInput(), "query": RoleInput()}
    document_ids = list(collection.documents)
    query_ids = [q for q in collection.queries if q in collection.relevant]
    texts = [collection.documents[d] for d in document_ids]
    read = tokens_read(tokenizer, texts, limits["document"], around["document"])
    documents = encoder.encode(read, top_k["document"])
    asked = [collection.queries[q] for q in query_ids]
    read = tokens_read(tokenizer, asked, limits["query"], around["query"])
    queries = (questioner or encoder).encode(read, top_k["query"])
    vocabulary = max(tokenizer.get_vocab().values()) + 1
    if lexicon is not None:
        space = TermSpace(tokenizer, lexicon)
        queries, documents, vocabulary = joined_sides(space, asked, queries, texts, documents, top_k)
        if corpus_idf:
            found: np.ndarray = np.bincount(np.concatenate([i for i, _ in documents]), minlength=vocabulary)
            queries = [recalibrated(space, t, v, found, len(documents)) for t, v in zip(asked, queries, strict=True)]
    scores = score_matrix(queries, documents, vocabulary)
    figures = ranking_figures(scores, query_ids, document_ids, collection.relevant)
    figures["terms/query"] = float(np.mean([len(i) for i, _ in queries]))
    figures["terms/document"] = float(np.mean([len(i) for i, _ in documents]))
    return figures
