"""Trains a reader (reader.py) for what its terms add to BM25.

Within batches of one source's pairs, KL from a target to the scores

    alpha BM25(q, d) + beta m(q) . m(d) / |m(d)|

with alpha and beta learnt beside the reader and thrown away.  The target is a dense teacher's softmax,
mixed with the question's own passage.  A tenth of the same for the cosine alone keeps terms useful by
themselves: with more of it they learn to repeat the text's own words, which BM25 has already.
"""

from __future__ import annotations

import math
import random
import time
from collections import defaultdict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from tokenizers import Tokenizer
from torch import Tensor, nn

from . import reader as reader_file
from .base import Base
from .batches import padded
from .data.pairs import Pair
from .lexical import LexicalTeacher
from .lexicon import Lexicon, TermSpace
from .prompted import causal_model, prompted_rows
from .reader import Reader, cached


@dataclass(frozen=True)
class Recipe:
    """Constants of a run."""

    steps: int
    batch: int = 32
    rank: int = 8
    first: int = 10
    """Layers below it are not changed."""
    rate: float = 6e-4
    shift_rate: float = 3e-4
    query_tokens: int = 32
    passage_tokens: int = 64
    query_terms: int = 48
    document_terms: int = 128
    temperature: float = 0.03
    """Of the teacher's cosines."""
    own: float = 0.3
    """Share of the question's own passage in the target."""
    alone: float = 0.1
    threshold: float = 1.0
    usual_texts: int = 192
    """Passages that say how usual each word is, measured again every `usual_every` steps."""
    usual_every: int = 20
    save_every: int = 20
    half: bool = True
    """Products with the frozen weights are in bfloat16."""
    seed: int = 1


Embed = Callable[[list[str]], Tensor]


class _Texts:
    """Reads texts of one role."""

    def __init__(self, base: Base, model: object, reader: Reader, space: TermSpace, prompt: str, limit: int) -> None:
        self.base, self.model, self.reader, self.space, self.prompt, self.limit = (
            base,
            model,
            reader,
            space,
            prompt,
            limit,
        )

    def logs(self, texts: list[str]) -> Tensor:
        """Log-probabilities [B, terms]: of each term's likeliest form."""
        tail = len(self.reader.prompt)
        ids, mask = padded([row[:-tail] for row in prompted_rows(self.base, texts, self.prompt, self.limit)])
        logs = self.reader(cached(self.model, ids), mask.sum(1))
        # The largest of a term's forms; `grouped` takes weights, which are at least 0.
        return -self.space.grouped(-1.0 / logs.clamp(max=-1e-6), self.space.known).clamp(min=1e-6).reciprocal()


def heaviest(weights: Tensor, most: int) -> Tensor:
    """Weights [B, N] with all but each row's `most` largest at 0."""
    if most >= weights.shape[1]:
        return weights
    least = weights.detach().topk(most, -1).values[:, -1:]
    return weights * (weights.detach() >= least)


def batches(pairs: list[Pair], size: int, seed: int) -> list[list[int]]:
    """One epoch: batches of one source each, so that other passages resemble the right one."""
    by: dict[str, list[int]] = defaultdict(list)
    for n, pair in enumerate(pairs):
        by[pair.source].append(n)
    rng = random.Random(seed)
    result = []
    for rows in by.values():
        rng.shuffle(rows)
        result += [rows[start : start + size] for start in range(0, len(rows) - size + 1, size)]
    rng.shuffle(result)
    return result


def train(
    base: Base,
    pairs: list[Pair],
    lexicon: Lexicon,
    prompts: dict[str, str],
    recipe: Recipe,
    embed: Embed | None,
    out: Path,
    say: Callable[[str], None],
    until: int | None = None,
) -> Reader:
    """Train, or go on from `out`'s state, to `until` or all of the recipe's steps; writes `out` every few steps."""
    torch.manual_seed(recipe.seed)
    tail = prompted_rows(base, [""], prompts["document"], recipe.passage_tokens)[0]
    if prompted_rows(base, [""], prompts["query"], recipe.query_tokens)[0][-len(tail) :] != tail:
        raise ValueError("both prompts must end alike: one reader reads texts of both roles")
    precision = torch.bfloat16 if recipe.half else torch.float32
    model = causal_model(base).to(precision)
    learnt = Reader(base, tail, recipe.rank, recipe.first, precision)
    space = TermSpace(Tokenizer.from_str(base.tokenizer_json), lexicon)
    queries = _Texts(base, model, learnt, space, prompts["query"], recipe.query_tokens)
    passages = _Texts(base, model, learnt, space, prompts["document"], recipe.passage_tokens)
    bm25 = LexicalTeacher([p.query for p in pairs], [p.passage for p in pairs])
    scales = nn.Parameter(torch.tensor([5.0, 0.15, 12.0]).log())
    shifts = [v for k, v in learnt.learnt.items() if k.endswith("shift")]
    others = [v for k, v in learnt.learnt.items() if not k.endswith("shift")]
    groups = [
        {"params": others, "rate": recipe.rate, "weight_decay": 0.01},
        {"params": shifts, "rate": recipe.shift_rate},
        {"params": [scales], "rate": 2e-2},
    ]
    optimizer = torch.optim.AdamW(groups, lr=0.0, betas=(0.9, 0.98), weight_decay=0.0)
    state_file = out.with_name(out.name + ".state")
    step, usual = 0, torch.zeros(space.known)
    if state_file.exists():
        state = torch.load(state_file, weights_only=True)
        if state["recipe"] != asdict(recipe):
            raise ValueError(f"{state_file} is of another recipe: move it away to begin again")
        learnt.take(state["reader"])
        with torch.no_grad():
            scales.copy_(state["scales"])
        optimizer.load_state_dict(state["optimizer"])
        step, usual = state["step"], state["usual"]
    sample = [p.passage for p in random.Random(recipe.seed).sample(pairs, min(recipe.usual_texts, len(pairs)))]

    def save() -> None:
        reader_file.write(out, learnt.tensors(), {"steps": step, "pairs": min(len(pairs), step * recipe.batch)})
        partial = state_file.with_name(state_file.name + ".partial")
        torch.save({"recipe": asdict(recipe), "reader": learnt.tensors(), "scales": scales.detach(), "step": step,
                    "optimizer": optimizer.state_dict(), "usual": usual}, partial)  # fmt: skip
        partial.replace(state_file)

    began = time.monotonic()
    epoch = batches(pairs, recipe.batch, recipe.seed)
    if not epoch:
        raise ValueError(f"no source has {recipe.batch} pairs")
    last = min(recipe.steps, until or recipe.steps)
    while step < last:
        if step % recipe.usual_every == 0:
            with torch.no_grad():
                parts = [passages.logs(sample[n : n + recipe.batch]) for n in range(0, len(sample), recipe.batch)]
                usual = torch.cat(parts).mean(0)
        turn, place = divmod(step, len(epoch))
        rows = batches(pairs, recipe.batch, recipe.seed + turn)[place]
        rate = min(1.0, (step + 1) / 10) * max(0.05, 1 - step / recipe.steps)
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * rate
        q, d = (
            heaviest(torch.relu(logs - usual - recipe.threshold), most)
            for logs, most in (
                (queries.logs([pairs[n].query for n in rows]), recipe.query_terms),
                (passages.logs([pairs[n].passage for n in rows]), recipe.document_terms),
            )
        )
        d = F.normalize(d, dim=-1)
        target = torch.eye(len(rows))
        if embed is not None:
            cosines = embed([pairs[n].query for n in rows]) @ embed([pairs[n].passage for n in rows]).T
            target = recipe.own * target + (1 - recipe.own) * (cosines / recipe.temperature).softmax(-1)
        lexical, added, alone = scales.exp()
        together = _kl(lexical * bm25.scores(rows) + added * (q @ d.T), target)
        loss = together + recipe.alone * _kl(alone * (F.normalize(q, dim=-1) @ d.T), target)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_([v for group in groups for v in group["params"]], 1.0)  # type: ignore[attr-defined]
        optimizer.step()
        step += 1
        if not math.isfinite(loss.item()):
            raise ArithmeticError(f"the loss is {loss.item()} at step {step}")
        if step % 5 == 0 or step == last:
            say(f"step {step} together {together.item():.3f} loss {loss.item():.3f} {time.monotonic() - began:.0f} s")
        if step % recipe.save_every == 0 or step == last:
            save()
    return learnt


def _kl(scores: Tensor, target: Tensor) -> Tensor:
    entropy = -(target * target.clamp(min=1e-9).log()).sum(-1).mean()
    return -(target * scores.log_softmax(-1)).sum(-1).mean() - entropy
