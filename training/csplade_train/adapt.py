"""Adapting a shipped checkpoint to a user's corpus, unsupervised: pseudo-queries, teacher, a short run, a report.

Whole documents are held out first.  Their pseudo-queries, never trained on, say
before and after, and against BM25, whether it helped.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import base, checkpoints, mining
from . import tokenizer as tok
from .data import corpus
from .data.pairs import Pair, crop, passages, question, split_by_group, tidy
from .data.variety import varied
from .evaluate import TorchEncoder, joined_sides, score_matrix
from .lexical import LexicalTeacher
from .lexicon import Lexicon, TermSpace, lexicon_of
from .model import SparseEncoder
from .recipe import Recipe
from .reopen import reopen
from .trainer import Trainer

FEWEST_DOCUMENTS = 100
"""Below this a run would learn the corpus by heart and the report mean nothing."""

DEFAULT = Recipe(
    batch=16,
    query_tokens=48,
    document_tokens=160,
    learning_rate=3e-5,
    term_rate=1e-3,
    gain_rate=1e-3,
    scalar_rate=3e-4,
    warmup=20,
    adaptation_steps=0,
    ramp_until=1,
    ramp_from=1.0,
    flops_document=0.01,
    evaluate_every=1_000_000,
)
"""Gentle: the checkpoint is already trained and already sparse."""


LEXICAL_TEMPERATURE = 0.0625
"""The student's temperature where scores are shares of what the query's words could reach."""


@dataclass(frozen=True)
class Comparison:
    """Held-out pseudo-queries before and after: mean reciprocal ranks among all held-out and other passages."""

    queries: int
    passages: int
    bm25: float
    before: float
    after: float
    standard_error: float
    terms_before: float
    terms_after: float

    @property
    def verdict(self) -> str:
        """`helped`, `harmed` or `no clear difference`: two standard errors of the paired difference decide."""
        difference = self.after - self.before
        if abs(difference) <= 2 * self.standard_error:
            return "no clear difference"
        return "helped" if difference > 0 else "harmed"


def pseudo_pairs(documents: list[corpus.Document], seed: int, each: int = 3) -> list[Pair]:
    """Titles to passages, and sentences cropped from passages, at most `each` passages a document."""
    rng = random.Random(seed)
    result: list[Pair] = []
    for document in documents:
        body = tidy(document.body)
        pieces = passages(body) or ([body] if len(body.split()) >= 8 else [])
        for n, passage in enumerate(rng.sample(pieces, min(each, len(pieces)))):
            if n == 0 and len(document.title.split()) >= 2:
                result.append(Pair(question(document.title, rng), passage, "corpus", document.id))
            cut = crop(passage, rng)
            if cut:
                result.append(Pair(cut[0], cut[1], "corpus", document.id))
    return result


def reciprocal_ranks(scores: np.ndarray) -> np.ndarray:
    """1 / rank of column i in row i; ties count against it."""
    own = scores[np.arange(len(scores)), np.arange(len(scores))][:, None]
    return 1.0 / np.maximum((scores >= own).sum(1), 1)


def measured(
    model: SparseEncoder, text: str, lexicon: Lexicon | None, queries: list[str], answers: list[str]
) -> tuple[np.ndarray, float]:
    """Reciprocal rank of each query's answer (answers[i]) among all answers, and terms a document."""
    tokenizer, encoder = Tokenizer.from_str(text), TorchEncoder(model)
    documents = encoder.encode(tok.encode_batch(tokenizer, answers, 256), 256)
    asked = encoder.encode(tok.encode_batch(tokenizer, queries, 64), 64)
    width = model.config.vocabulary
    if lexicon is not None:
        space = TermSpace(tokenizer, lexicon)
        top_k = {"query": 64, "document": 256}
        asked, documents, width = joined_sides(space, queries, asked, answers, documents, top_k)
    scores = score_matrix(asked, documents, width)
    return reciprocal_ranks(scores), float(np.mean([len(i) for i, _ in documents]))


def steps_within(trainer: Trainer, minutes: float, most: int) -> int:
    """How many steps fit, from the time of two real ones whose effect is not kept."""
    began = time.monotonic()
    for step in (0, 1):
        trainer.ranking_step(trainer.batch_of(step), warm=False)
    trainer.optimizer.zero_grad(set_to_none=True)
    trainer.watch.restore({})
    seconds = (time.monotonic() - began) / 2
    return max(1, min(most, int(minutes * 60 / seconds)))


def adapt(
    checkpoint: Path,
    documents: list[corpus.Document],
    run: Path,
    minutes: float,
    embed_teacher: Callable[[list[str]], Tensor] | None,
    held_out: int,
    say: Callable[[str], None],
    recipe: Recipe = DEFAULT,
) -> tuple[SparseEncoder, str, Comparison, int]:
    """Train on the documents; returns the model, its tokenizer's JSON, the comparison and the steps taken."""
    if len(documents) < FEWEST_DOCUMENTS:
        raise ValueError(f"{len(documents)} documents are too few to adapt to: at least {FEWEST_DOCUMENTS} are needed")
    model, text = reopen(checkpoint)
    lexicon = lexicon_of(checkpoint)
    if lexicon is not None:
        recipe = replace(recipe, lexicon=True, student_temperature=LEXICAL_TEMPERATURE)
    pairs = pseudo_pairs(documents, recipe.seed)
    kept, held = split_by_group(pairs, min(held_out, len(documents) // 5), recipe.seed)
    training = varied([pairs[n] for n in kept], recipe.seed)
    dev = [pairs[n] for n in held]
    say(f"{len(documents):,} documents: {len(training):,} pseudo-queries to train on, {len(dev)} held out")
    others = random.Random(recipe.seed).sample(kept, min(len(kept), 2000))
    queries, answers = [p.query for p in dev], [p.passage for p in dev] + [pairs[n].passage for n in others]
    before, terms_before = measured(model, text, lexicon, queries, answers)
    lexical = LexicalTeacher(queries + [""] * (len(answers) - len(queries)), answers)
    asked, found = mining.lexical_vectors(lexical)
    bm25 = reciprocal_ranks((asked[: len(queries)] @ found.T).toarray())
    say(f"before: MRR {before.mean():.3f} (BM25 {bm25.mean():.3f})")
    rows = tok.encode_batch(Tokenizer.from_str(text), [p.passage for p in training], 256)
    idf = base.inverse_document_frequency(rows, model.config.vocabulary)
    if embed_teacher is None:
        # Without a dense teacher BM25 alone distils: half the weight, or it would only become BM25.
        recipe = replace(recipe, lexical_share=1.0, distillation_weight=0.5, reverse_weight=0.15)

    def trainer(steps: int) -> Trainer:
        torch.manual_seed(recipe.seed)
        chosen = replace(recipe, steps=steps)
        return Trainer(model, text, training, [], idf, chosen, run, embed_teacher, lexicon=lexicon)

    most = max(1, 3 * len(training) // recipe.batch)
    steps = steps_within(trainer(most), minutes, most)
    say(f"{steps} steps of {recipe.batch}")
    trainer(steps).run()
    after, terms_after = measured(model, text, lexicon, queries, answers)
    difference = after - before
    comparison = Comparison(
        len(dev),
        len(answers),
        float(bm25.mean()),
        float(before.mean()),
        float(after.mean()),
        float(difference.std(ddof=1) / np.sqrt(len(difference))),
        terms_before,
        terms_after,
    )
    say(f"after: MRR {comparison.after:.3f}, {comparison.verdict}")
    return model, text, comparison, steps


def report(comparison: Comparison) -> str:
    """The comparison as Markdown."""
    c = comparison
    return (
        f"Held-out pseudo-queries: {c.queries}, each with one right passage among {c.passages:,}.\n\n"
        "| | MRR | terms per document |\n|---|---:|---:|\n"
        f"| BM25 | {c.bm25:.4f} | |\n"
        f"| before | {c.before:.4f} | {c.terms_before:.0f} |\n"
        f"| after | {c.after:.4f} | {c.terms_after:.0f} |\n\n"
        f"Verdict: **{c.verdict}** (difference {c.after - c.before:+.4f}, standard error {c.standard_error:.4f}).\n"
        "Pseudo-queries are cut from the corpus itself: judge real queries with `csplade eval` where you have them.\n"
    )


def description(checkpoint: Path, comparison: Comparison, steps: int, documents: int) -> checkpoints.Description:
    """What the new manifest says: the old one's words, and what was done to it."""
    old = json.loads((checkpoint / "manifest.json").read_text(encoding="utf-8"))
    return checkpoints.Description(
        name=f"{old['name']}-adapted",
        base=old["base"],
        max_tokens=old["max_tokens"],
        top_k=old["top_k"],
        license=old["license"],
        pad_token_id=old["pad_token_id"],
        training={
            **old.get("training", {}),
            "adapted": {
                "from_fingerprint": old["fingerprint"],
                "documents": documents,
                "steps": steps,
                "verdict": comparison.verdict,
                "mrr_before": round(comparison.before, 4),
                "mrr_after": round(comparison.after, 4),
            },
        },
    )
