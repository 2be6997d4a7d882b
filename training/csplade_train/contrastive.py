"""The training loop: a short adaptation phase, then contrast and distillation under growing sparsity.

A run is a directory: `config.yaml`, `log.jsonl`, `state.pt` (everything needed
to go on exactly where it stopped) and `master.pt` (weights to export).
"""

from __future__ import annotations

import json
import math
import random
import signal
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import adaptation, collapse, losses
from . import tokenizer as tok
from .base import own_weight_targets
from .batches import order_of_epoch, padded
from .checkpoints import save_master
from .data.pairs import Pair
from .evaluate import TorchEncoder, ranking_figures, score_matrix
from .lexical import LexicalTeacher
from .model import SparseEncoder


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a run; lengths in tokens, intervals in steps unless named otherwise."""

    steps: int = 1000
    batch: int = 32
    cluster: int = 8
    query_tokens: int = 32
    document_tokens: int = 128
    learning_rate: float = 5e-5
    embedding_rate: float = 0.0
    skip_rate: float = 1e-5
    scalar_rate: float = 1e-3
    term_rate: float = 3e-3
    warmup: int = 40
    decay_to: float = 0.1
    weight_decay: float = 0.01
    adaptation_steps: int = 40
    adaptation_others: float = 0.02
    own_scale: float = 0.7
    student_temperature: float = 1.0
    teacher_temperature: float = 0.05
    lexical_share: float = 0.4
    contrast_weight: float = 0.5
    distillation_weight: float = 1.0
    reverse_weight: float = 0.3
    flops_document: float = 0.02
    flops_query: float = 0.02
    l1_query: float = 0.0
    l1_document: float = 0.0
    ramp_until: int = 400
    ramp_from: float = 0.2
    leak: float = 0.1
    margin: float = 2.0
    seed: int = 1
    evaluate_every: int = 200
    dev_corpus: int = 2000
    save_every_seconds: int = 240
    keep_at: list[int] = field(default_factory=list)


PART = 16
"""Texts encoded at a time."""


class Trainer:
    """Trains `model` on `pairs`; `embed_teacher` gives unit vectors of texts, or None to do without."""

    def __init__(
        self,
        model: SparseEncoder,
        tokenizer_json: str,
        pairs: list[Pair],
        dev: list[Pair],
        idf: Tensor,
        recipe: Recipe,
        directory: Path,
        embed_teacher: Callable[[list[str]], Tensor] | None,
    ) -> None:
        self.model, self.tokenizer_json, self.recipe, self.directory = model, tokenizer_json, recipe, directory
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.pairs, self.dev, self.idf, self.embed_teacher = pairs, dev, idf, embed_teacher
        self.queries = tok.encode_batch(self.tokenizer, [p.query for p in pairs], recipe.query_tokens)
        self.passages = tok.encode_batch(self.tokenizer, [p.passage for p in pairs], recipe.document_tokens)
        self.vectors = lexical_projection(self.passages, idf, recipe.seed)
        self.lexical = LexicalTeacher([p.query for p in pairs], [p.passage for p in pairs])
        terms = [model.gain, model.bias]
        scalars = [model.offset, model.frequency_power, model.length_power, model.emphasis.weight]
        # With a rate of 0 the (tied) embeddings cost nothing: no dense gradient of [V, H] is formed.
        model.embedding.weight.requires_grad_(recipe.embedding_rate > 0)
        embedding = [model.embedding.weight]
        skip = [model.skip.weight]
        special = {id(p) for p in terms + scalars + embedding + skip}
        trunk = [p for p in model.parameters() if id(p) not in special]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": trunk, "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
                {"params": embedding, "lr": recipe.embedding_rate, "weight_decay": 0.0},
                {"params": skip, "lr": recipe.skip_rate, "weight_decay": 0.0},
                {"params": scalars, "lr": recipe.scalar_rate, "weight_decay": 0.0},
                {"params": terms, "lr": recipe.term_rate, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.98),
        )
        self.rates = [g["lr"] for g in self.optimizer.param_groups]
        self.step = 0
        self.stop = False
        self.epoch = -1
        self.order: list[list[int]] = []
        self.watch = collapse.Watch(recipe.batch, model.config.vocabulary)
        directory.mkdir(parents=True, exist_ok=True)

    # ---- order, learning rate, state ------------------------------------------------

    def batch_of(self, step: int) -> list[int]:
        """Rows of the batch of a step: a function of step and seed alone, so that resuming is exact."""
        per_epoch = len(self.pairs) // self.recipe.batch
        epoch, place = divmod(step, per_epoch)
        if epoch != self.epoch:
            self.epoch = epoch
            self.order = order_of_epoch(self.vectors, self.recipe.batch, self.recipe.cluster, self.recipe.seed + epoch)
        return self.order[place]

    def rate(self, step: int) -> float:
        r = self.recipe
        if step < r.warmup:
            return (step + 1) / r.warmup
        progress = (step - r.warmup) / max(1, r.steps - r.warmup)
        return r.decay_to + (1 - r.decay_to) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))

    def save(self) -> None:
        temporary = self.directory / "state.tmp"
        torch.save(
            {
                "model": self.model.state_dict(),
                "optimizer": self.optimizer.state_dict(),
                "step": self.step,
                "torch": torch.get_rng_state(),
                "watch": self.watch.state(),
            },
            temporary,
        )
        temporary.replace(self.directory / "state.pt")
        save_master(self.directory / "master.pt", self.model, self.tokenizer_json)

    def resume(self) -> None:
        path = self.directory / "state.pt"
        if not path.exists():
            raise FileNotFoundError(f"cannot resume {self.directory}: it has no state.pt yet; train without --resume")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        self.model.load_state_dict(saved["model"])
        self.optimizer.load_state_dict(saved["optimizer"])
        self.step = saved["step"]
        torch.set_rng_state(saved["torch"])
        self.watch.restore(saved.get("watch", {}))
        self.forget_later_rows()

    def forget_later_rows(self) -> None:
        """Drop what a killed run logged after its last saved state: those steps are taken again."""
        path = self.directory / "log.jsonl"
        if not path.exists():
            return
        rows = []
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except json.JSONDecodeError:
                continue  # The line that the kill cut in half.
            if row["step"] < self.step or (row["step"] == self.step and "loss" in row):
                rows.append(line)
        path.write_text("".join(row + "\n" for row in rows), encoding="utf-8")

    def log(self, **row: object) -> None:
        with open(self.directory / "log.jsonl", "a", encoding="utf-8") as out:
            out.write(json.dumps({"step": self.step, **row}) + "\n")

    # ---- one step -----------------------------------------------------------------------

    def pooled(self, rows: list[list[int]]) -> Tensor:
        """Pooled logits [len(rows), V], computed in parts of similar length: padding is half of a mixed batch."""
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        parts = []
        with torch.autocast("cpu", dtype=torch.bfloat16):
            for start in range(0, len(order), PART):
                ids, mask = padded([rows[n] for n in order[start : start + PART]])
                parts.append(self.model.pooled(ids, mask))
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(parts)[back]

    def adaptation_loss(self, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        texts = [self.passages[n] for n in rows[::2]] + [self.queries[n] for n in rows[::2]]
        ids, mask = padded(texts)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            pooled = self.model.pooled(ids, mask)
        targets = own_weight_targets(self.idf, self.recipe.own_scale)
        loss = adaptation.loss(pooled, ids, mask, targets, self.model.term_mask, self.recipe.adaptation_others)
        return loss, {"terms": float((pooled > 0).float().sum(1).mean())}

    def contrastive_loss(self, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        batch = [self.pairs[n] for n in rows]
        query_rows = [self.queries[n] for n in rows]
        passage_rows = [self.passages[n] for n in rows]
        z_query = self.pooled(query_rows)
        z_document = self.pooled(passage_rows)
        query = losses.activation(z_query, r.margin, r.leak)
        document = losses.activation(z_document, r.margin, r.leak)
        scores = query @ document.T / r.student_temperature
        groups = [p.group for p in batch]
        same = torch.tensor([[a == b for b in groups] for a in groups])
        contrast = losses.contrast(scores, same)
        total = r.contrast_weight * contrast
        report = {"contrast": contrast.item()}
        if self.embed_teacher is not None:
            vectors = self.embed_teacher([p.query for p in batch] + [p.passage for p in batch])
            dense = vectors[: len(batch)] @ vectors[len(batch) :].T
            blend = (1 - r.lexical_share) * dense + r.lexical_share * self.lexical.scores(rows)
            teacher = blend / r.teacher_temperature
            distilled = losses.distillation(scores, teacher)
            reverse = losses.distillation(scores.T, teacher.T)
            total = total + r.distillation_weight * distilled + r.reverse_weight * reverse
            report |= {
                "kl": distilled.item(),
                "teacher_top1": (teacher.argmax(1) == torch.arange(len(batch))).float().mean().item(),
            }
        strength = max(r.ramp_from, losses.ramp(self.step - r.adaptation_steps, r.ramp_until))
        flops_document, flops_query = losses.flops(document), losses.flops(query)
        total = total + strength * (
            r.flops_document * flops_document
            + r.flops_query * flops_query
            + r.l1_query * losses.l1(query)
            + r.l1_document * losses.l1(document)
        )
        active_query = float((query > 0).float().sum(1).mean())
        active_document = float((document > 0).float().sum(1).mean())
        report |= {
            "gap": (scores.detach().diagonal().mean() - scores.detach().mean()).item(),
            "top1": (scores.argmax(1) == torch.arange(len(batch))).float().mean().item(),
            "terms_query": active_query,
            "terms_document": active_document,
            "flops_query": flops_query.item(),
            "flops_document": flops_document.item(),
        }
        self.watch.see(contrast.item(), active_query, active_document)
        return total, report

    def train_step(self) -> dict[str, float]:
        rows = self.batch_of(self.step)
        adapting = self.step < self.recipe.adaptation_steps
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.rate(self.step)
        self.model.train()
        loss, report = self.adaptation_loss(rows) if adapting else self.contrastive_loss(rows)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(
            [p for g in self.optimizer.param_groups[:4] for p in g["params"] if p.requires_grad], 1.0
        )
        self.optimizer.step()
        self.step += 1
        return {"loss": loss.item(), "grad": float(norm)} | report

    # ---- the run ------------------------------------------------------------------------

    def evaluate(self) -> dict[str, float]:
        """Figures of held-out pseudo-queries over their passages and `dev_corpus` others."""
        encoder = TorchEncoder(self.model)
        queries = encoder.encode(tok.encode_batch(self.tokenizer, [p.query for p in self.dev], 64), 64)
        rng = random.Random(self.recipe.seed)
        others = rng.sample(self.pairs, min(len(self.pairs), self.recipe.dev_corpus))
        corpus = [p.passage for p in self.dev + others]
        documents = encoder.encode(tok.encode_batch(self.tokenizer, corpus, 256), 256)
        scores = score_matrix(queries, documents, self.model.config.vocabulary)
        names = [str(n) for n in range(len(corpus))]
        figures = ranking_figures(
            scores, names[: len(self.dev)], names, {str(n): {str(n): 1} for n in range(len(self.dev))}
        )
        figures["terms/query"] = float(np.mean([len(i) for i, _ in queries]))
        figures["terms/document"] = float(np.mean([len(i) for i, _ in documents]))
        return figures

    def run(self) -> None:
        """Train until the recipe's last step, a SIGTERM or SIGINT; always leaves a saved state."""

        def finish(_signal: int, _frame: FrameType | None) -> None:
            self.stop = True

        signal.signal(signal.SIGTERM, finish)
        signal.signal(signal.SIGINT, finish)
        saved = time.monotonic()
        try:
            while self.step < self.recipe.steps and not self.stop:
                if self.step % self.recipe.evaluate_every == 0 and self.dev:
                    self.log(dev=self.evaluate())
                began = time.monotonic()
                report = self.train_step()
                self.log(seconds=round(time.monotonic() - began, 2), **{k: round(v, 4) for k, v in report.items()})
                if time.monotonic() - saved > self.recipe.save_every_seconds:
                    self.save()
                    saved = time.monotonic()
                if self.step in self.recipe.keep_at:
                    save_master(self.directory / f"master-{self.step}.pt", self.model, self.tokenizer_json)
        except collapse.Collapsed as reason:
            self.log(collapsed=str(reason))
            raise
        self.save()
        if self.dev and not self.stop:
            self.log(dev=self.evaluate())


def lexical_projection(rows: list[list[int]], idf: Tensor, seed: int, size: int = 128) -> np.ndarray:
    """Unit vectors [N, size]: random projections of idf-weighted word sets, to find passages alike in words."""
    generator = np.random.default_rng(seed)
    basis = generator.standard_normal((len(idf), size), dtype=np.float32)
    weights = idf.clamp(0.0, 9.0).numpy()
    result: np.ndarray = np.zeros((len(rows), size), dtype=np.float32)
    for n, row in enumerate(rows):
        terms = np.unique(np.array(row, dtype=np.int64))
        result[n] = weights[terms] @ basis[terms]
    return result / np.maximum(np.linalg.norm(result, axis=1, keepdims=True), 1e-6)


def split_by_group(pairs: list[Pair], dev: int, seed: int) -> tuple[list[Pair], list[Pair]]:
    """(training, held out): whole documents are held out, one pair each."""
    rng = random.Random(seed)
    groups = sorted({p.group for p in pairs})
    rng.shuffle(groups)
    held = set(groups[:dev])
    training = [p for p in pairs if p.group not in held]
    first: dict[str, Pair] = {}
    for p in pairs:
        if p.group in held:
            first.setdefault(p.group, p)
    return training, [first[g] for g in groups[:dev]]


def recipe_of(values: dict[str, object]) -> Recipe:
    known = set(asdict(Recipe()))
    unknown = set(values) - known
    if unknown:
        raise ValueError(f"unknown recipe keys: {', '.join(sorted(unknown))}")
    return Recipe(**values)  # type: ignore[arg-type]
