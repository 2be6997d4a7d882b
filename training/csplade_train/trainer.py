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
from pathlib import Path
from types import FrameType

import numpy as np
import torch
from tokenizers import Tokenizer
from torch import Tensor

from . import adaptation, collapse, lora, losses, objective, parallel
from . import tokenizer as tok
from .base import own_weight_targets
from .batches import order_of_epoch, padded
from .checkpoints import save_master
from .data.pairs import Pair
from .evaluate import TorchEncoder, Vector, joined_sides, ranking_figures, score_matrix
from .lexical import LexicalTeacher
from .lexicon import Lexicon, TermSpace
from .model import SparseEncoder
from .negatives import Negatives
from .query_table import QueryTable, start_of
from .recipe import Recipe

PART = 16
"""Texts encoded at a time."""

SPARE_COLUMNS = 8192
"""Columns of a batch's vectors for stems without rows; more of them share columns."""


class Trainer:
    """Trains `model` on `pairs`; `embed_teacher` gives unit vectors of texts, or None to do without.

    lexicon: of the lexical part, if the recipe has one; idf: of every term [V];
    mined: hard negatives by pair number, their passages being numbers of `pairs` too;
    processes: how many train together.
    """

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
        mined: dict[int, Negatives] | None = None,
        processes: parallel.Processes = parallel.Processes(),  # noqa: B008, frozen
        lexicon: Lexicon | None = None,
    ) -> None:
        if len(pairs) < recipe.batch:
            raise ValueError(f"{len(pairs)} training pairs do not fill one batch of {recipe.batch}")
        self.model, self.tokenizer_json, self.recipe, self.directory = model, tokenizer_json, recipe, directory
        self.processes, self.mined = processes, mined or {}
        self.tokenizer = Tokenizer.from_str(tokenizer_json)
        self.pairs, self.dev, self.idf, self.embed_teacher = pairs, dev, idf, embed_teacher
        self.queries = tok.encode_batch(self.tokenizer, [p.query for p in pairs], recipe.query_tokens)
        self.passages = tok.encode_batch(self.tokenizer, [p.passage for p in pairs], recipe.document_tokens)
        self.vectors = lexical_projection(self.passages, idf, recipe.seed)
        if recipe.lexicon != (lexicon is not None):
            raise ValueError("a recipe with a lexical part needs the lexicon, and only such a recipe")
        self.space = TermSpace(self.tokenizer, lexicon) if lexicon else None
        if self.space:
            # Pieces within words are no terms beside whole words.
            model.term_mask &= self.space.of_row >= 0
        with torch.no_grad():
            model.bias += recipe.bias_shift  # A resumed run's state comes later and has it in it.
        self.lexical = LexicalTeacher([p.query for p in pairs], [p.passage for p in pairs])
        model.to(processes.device)
        model.gradient_checkpointing = recipe.gradient_checkpointing
        if recipe.lora_rank:
            lora.inject(model, recipe.lora_rank, recipe.lora_alpha)
        if processes.count > 1:
            parallel.shard(model, processes)
        self.table: QueryTable | None = None
        if recipe.query_encoder == "table":
            self.table = QueryTable(start_of(idf, recipe.own_scale), model.term_mask.cpu()).to(processes.device)
        self.penalties = (
            losses.idf_penalties(idf, recipe.flops_idf_power).to(processes.device) if recipe.flops_idf_power else None
        )
        self.optimizer = self.make_optimizer()
        self.rates = [g["lr"] for g in self.optimizer.param_groups]
        self.step = 0
        self.stop = False
        self.epoch = -1
        self.order: list[list[int]] = []
        self.watch = collapse.Watch(recipe.batch * (1 + recipe.negatives), model.config.vocabulary)
        directory.mkdir(parents=True, exist_ok=True)

    def make_optimizer(self) -> torch.optim.Optimizer:
        model, recipe = self.model, self.recipe
        terms, gains = [model.bias], [model.gain]
        scalars = [model.offset, model.frequency_power, model.length_power, model.emphasis.weight]
        # With a rate of 0 the (tied) embeddings cost nothing: no dense gradient of [V, H] is formed.
        embedding = list({id(table): table for table in (model.embedding.weight, model.terms())}.values())
        for table in embedding:
            table.requires_grad_(recipe.embedding_rate > 0)
        skip = [model.skip.weight]
        special = {id(p) for p in terms + gains + scalars + embedding + skip}
        trunk = [p for p in model.parameters() if id(p) not in special]
        if recipe.lora_rank:
            trunk = [p for p in trunk if p.requires_grad]
        groups = [
            {"params": trunk, "lr": recipe.learning_rate, "weight_decay": recipe.weight_decay},
            {"params": embedding, "lr": recipe.embedding_rate, "weight_decay": 0.0},
            {"params": skip, "lr": recipe.skip_rate, "weight_decay": 0.0},
            {"params": scalars, "lr": recipe.scalar_rate, "weight_decay": 0.0},
            {"params": terms, "lr": recipe.term_rate, "weight_decay": 0.0},
            {"params": gains, "lr": recipe.gain_rate, "weight_decay": 0.0},
        ]
        if self.table is not None:
            groups.append({"params": [self.table.weight], "lr": recipe.table_rate, "weight_decay": 0.0})
        return torch.optim.AdamW(groups, betas=(0.9, 0.98))

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

    def plain(self) -> SparseEncoder | None:
        """The model as it is exported: whole, on the CPU, adapters merged; every process must call it, one gets it."""
        if self.processes.count == 1 and not self.recipe.lora_rank:
            return self.model
        if self.processes.count == 1:
            return lora.merged(self.model)
        state = parallel.whole(dict(self.model.state_dict()), self.processes.rank == 0)
        if self.processes.rank != 0:
            return None
        copy = SparseEncoder(self.model.config)
        if self.recipe.lora_rank:
            lora.inject(copy, self.recipe.lora_rank, self.recipe.lora_alpha)
            copy.load_state_dict(state)
            return lora.merged(copy)
        copy.load_state_dict(state)
        return copy

    def save_weights(self, name: str) -> None:
        plain = self.plain()
        if plain is not None:
            table = self.table.weights().cpu() if self.table is not None else None
            save_master(self.directory / name, plain, self.tokenizer_json, table)

    def save(self) -> None:
        """Write `state.pt` and `master.pt`; in a group every process must call it, one writes."""
        keep = self.processes.rank == 0
        state = {
            "model": parallel.whole(dict(self.model.state_dict()), keep),
            "optimizer": parallel.whole(self.optimizer.state_dict(), keep),
            "step": self.step,
            "torch": torch.get_rng_state(),
            "watch": self.watch.state(),
        }
        if self.table is not None:
            state["table"] = parallel.whole(dict(self.table.state_dict()), keep)
        if self.processes.rank == 0:
            temporary = self.directory / "state.tmp"
            torch.save(state, temporary)
            temporary.replace(self.directory / "state.pt")
        self.save_weights("master.pt")

    def resume(self) -> None:
        """Go on from `state.pt`.  Raises FileNotFoundError when the run never saved."""
        path = self.directory / "state.pt"
        if not path.exists():
            raise FileNotFoundError(f"cannot resume {self.directory}: it has no state.pt yet; train without --resume")
        saved = torch.load(path, map_location="cpu", weights_only=True)
        parallel.load_model(self.model, saved["model"])
        parallel.load_optimizer(self.optimizer, saved["optimizer"])
        self.step = saved["step"]
        torch.set_rng_state(saved["torch"])
        self.watch.restore(saved.get("watch", {}))
        if self.table is not None:
            self.table.load_state_dict(saved["table"])
        if self.processes.rank == 0:
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
        if self.processes.rank == 0:
            with open(self.directory / "log.jsonl", "a", encoding="utf-8") as out:
                out.write(json.dumps({"step": self.step, **row}) + "\n")

    # ---- one step -----------------------------------------------------------------------

    def parts_of(self, rows: list[list[int]]) -> list[list[int]]:
        """Row numbers in parts of similar length: padding is half of a mixed batch."""
        order = sorted(range(len(rows)), key=lambda n: len(rows[n]))
        return [order[start : start + PART] for start in range(0, len(order), PART)]

    def padded(self, rows: list[list[int]]) -> tuple[Tensor, Tensor]:
        ids, mask = padded(rows)
        return ids.to(self.processes.device), mask.to(self.processes.device)

    def part(self, rows: list[list[int]]) -> Tensor:
        """Pooled logits of texts that fit in memory together."""
        with torch.autocast(self.processes.device.split(":")[0], dtype=torch.bfloat16):
            z: Tensor = self.model.pooled(*self.padded(rows))
            return z

    def pooled(self, rows: list[list[int]]) -> Tensor:
        """Pooled logits [len(rows), V], computed part by part."""
        parts = self.parts_of(rows)
        z = [self.part([rows[n] for n in part]) for part in parts]
        order = [n for part in parts for n in part]
        back = torch.empty(len(order), dtype=torch.long)
        back[torch.tensor(order)] = torch.arange(len(order))
        return torch.cat(z)[back.to(z[0].device)]

    def backward_again(self, rows: list[list[int]], gradient: Tensor) -> None:
        """The second half of gradient caching: encode once more, part by part, against the known gradient."""
        for part in self.parts_of(rows):
            wanted = gradient[torch.tensor(part, device=gradient.device)]
            self.part([rows[n] for n in part]).backward(wanted)

    def adaptation_loss(self, rows: list[int]) -> tuple[Tensor, dict[str, float]]:
        r = self.recipe
        texts = [self.passages[n] for n in rows[::2]] + [self.queries[n] for n in rows[::2]]
        if r.adaptation == "saturated":
            texts = [self.passages[n] for n in rows]
        ids, mask = self.padded(texts)
        with torch.autocast(self.processes.device.split(":")[0], dtype=torch.bfloat16):
            if r.adaptation == "next_token":
                generator = torch.Generator().manual_seed(r.seed * 1_000_003 + self.step)
                loss = adaptation.next_token_loss(self.model, ids, mask, r.blank_share, generator)
                return loss, {}
            if r.adaptation == "saturated":
                return adaptation.saturated_loss(self.model, ids, mask), {}
            pooled = self.model.pooled(ids, mask)
        targets = own_weight_targets(self.idf, r.own_scale).to(pooled.device)
        loss = adaptation.loss(pooled, ids, mask, targets, self.model.term_mask, r.adaptation_others)
        return loss, {"terms": float((pooled > 0).float().sum(1).mean())}

    def documents_of(self, rows: list[int]) -> list[int]:
        """Pair numbers of the batch's passages: the positives, then each query's mined negatives."""
        found = list(rows)
        for n in rows if self.recipe.negatives else []:
            mine = self.mined.get(n)
            own = [m for m in mine.passages if m != n] if mine else []
            rng = random.Random(self.recipe.seed * 7919 + self.step * 31 + n)
            while len(own) < self.recipe.negatives:  # Queries without enough of their own borrow.
                own.append(rng.randrange(len(self.pairs)))
            found += own[: self.recipe.negatives]
        return found

    def teacher_scores(self, rows: list[int], documents: list[int]) -> Tensor | None:
        """The ensemble's scores [B, D]: dense cosines and normalised BM25.

        Without a dense teacher BM25 alone teaches if `lexical_share` is 1, else there is no teacher.
        """
        if self.embed_teacher is None:
            if self.recipe.lexical_share < 1.0 or not self.recipe.distillation_weight:
                return None
            return self.lexical.scores(rows, documents).to(self.processes.device)
        texts = [self.pairs[n].query for n in rows] + [self.pairs[n].passage for n in documents]
        vectors = self.embed_teacher(texts)
        dense = vectors[: len(rows)] @ vectors[len(rows) :].T
        share = self.recipe.lexical_share
        return ((1 - share) * dense.cpu() + share * self.lexical.scores(rows, documents)).to(self.processes.device)

    def ranking_loss(
        self, rows: list[int], documents: list[int], z_query: Tensor | None, z_document: Tensor, warm: bool
    ) -> tuple[Tensor, dict[str, float]]:
        """Loss of a whole batch from its pooled logits; `warm` leaves the teachers out."""
        r = self.recipe
        if self.table is not None:
            query = self.table(*self.padded([self.queries[n] for n in rows]))
        else:
            assert z_query is not None
            query = losses.activation(z_query, r.margin, r.leak)
        document = losses.activation(z_document, r.margin, r.leak)
        if self.space is None:
            scores = query @ document.T / r.student_temperature
        else:
            query, document, scores = self.completed(rows, documents, query, document)
        same = objective.same_document([self.pairs[n] for n in rows], [self.pairs[n] for n in documents])
        teacher = None if warm else self.teacher_scores(rows, documents)
        from_file = None
        if self.mined and not warm:
            mine = [self.mined.get(n) for n in rows]
            from_file = objective.file_scores(mine, documents, len(rows)).to(scores.device)
        total, report = objective.ranking(scores, same.to(scores.device), teacher, from_file, r)
        strength = max(r.ramp_from, losses.ramp(self.step - r.adaptation_steps, r.ramp_until))
        if warm:
            strength = losses.ramp(self.step, r.ramp_until)
        penalty, sizes = objective.sparsity(query, document, strength, self.penalties, r)
        target = torch.arange(len(rows), device=scores.device)
        report |= {
            "gap": (scores.detach().diagonal().mean() - scores.detach().mean()).item(),
            "top1": (scores.argmax(1) == target).float().mean().item(),
        } | sizes
        self.watch.see(report["contrast"], sizes["terms_query"], sizes["terms_document"])
        return total + penalty, report

    def completed(
        self, rows: list[int], documents: list[int], query: Tensor, document: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The model's weights by term, of queries and documents, and the scores of both parts together."""
        assert self.space is not None
        lexicon, width = self.space.lexicon, self.space.known + SPARE_COLUMNS
        asked, answers = [self.pairs[n].query for n in rows], [self.pairs[n].passage for n in documents]
        query, document = self.space.grouped(query, width), self.space.grouped(document, width)
        whole_query = self.space.part(asked, "query", width).to(query.device)
        whole_query = whole_query + lexicon.model_weight["query"] * query
        whole_document = self.space.part(answers, "document", width).to(query.device)
        whole_document = whole_document + lexicon.model_weight["document"] * document
        best = torch.tensor([lexicon.best(text) for text in asked], device=query.device)
        scores = whole_query @ whole_document.T / best[:, None] / self.recipe.student_temperature
        return query, document, scores

    def ranking_step(self, rows: list[int], warm: bool) -> tuple[float, dict[str, float]]:
        """Loss and gradients of one batch, with or without the gradient cache, alone or in a group."""
        documents = self.documents_of(rows)
        mine = self.processes.share(rows)
        # The processes' documents stay in the order of the whole batch: positives, then negatives, each divided.
        chunks = [documents[start : start + len(rows)] for start in range(0, len(documents), len(rows))]
        query_rows = [self.queries[n] for n in mine] if self.table is None else []
        document_rows = [[self.passages[n] for n in self.processes.share(chunk)] for chunk in chunks]
        cache = self.recipe.gradient_cache
        with torch.set_grad_enabled(not cache):
            z_query = self.pooled(query_rows) if query_rows else None
            z_documents = [self.pooled(chunk) for chunk in document_rows]
        if cache:
            z_query = z_query.requires_grad_() if z_query is not None else None
            z_documents = [z.requires_grad_() for z in z_documents]
        all_query = parallel.gathered(z_query, self.processes) if z_query is not None else None
        all_documents = torch.cat([parallel.gathered(z, self.processes) for z in z_documents])
        loss, report = self.ranking_loss(rows, documents, all_query, all_documents, warm)
        loss.backward()
        if cache:
            if z_query is not None and z_query.grad is not None:
                self.backward_again(query_rows, z_query.grad)
            for chunk, z in zip(document_rows, z_documents, strict=True):
                if z.grad is not None:
                    self.backward_again(chunk, z.grad)
        return loss.item(), report

    def train_step(self) -> dict[str, float]:
        rows = self.batch_of(self.step)
        adapting = self.step < self.recipe.adaptation_steps
        for group, rate in zip(self.optimizer.param_groups, self.rates, strict=True):
            group["lr"] = rate * self.rate(self.step)
        self.model.train()
        self.optimizer.zero_grad(set_to_none=True)
        if adapting and self.recipe.adaptation != "pairs":
            mine = self.processes.share(rows)
            loss, report = self.adaptation_loss(mine)
            (loss / self.processes.count).backward()
            value = loss.item()
            if not math.isfinite(value):
                raise collapse.Collapsed(f"the adaptation loss is {value}")
        else:
            value, report = self.ranking_step(rows, warm=adapting)
        trained = [p for g in self.optimizer.param_groups for p in g["params"] if p.requires_grad]
        parallel.sum_gradients(trained, self.processes)
        # Biases, gains and the query table have rates of their own; their gradients are not clipped.
        clipped = [p for g in self.optimizer.param_groups[:4] for p in g["params"] if p.requires_grad]
        norm = parallel.clip_norm(clipped, 1.0, self.processes)
        self.optimizer.step()
        self.step += 1
        return {"loss": value, "grad": norm} | report

    # ---- the run ------------------------------------------------------------------------

    def table_vectors(self, rows: list[list[int]]) -> list[Vector]:
        """Query vectors of the inference-free mode."""
        assert self.table is not None
        weights = self.table.weights().detach().cpu().numpy()
        found = [np.unique(np.array(row, dtype=np.int32)) for row in rows]
        return [(i[weights[i] > 0], weights[i][weights[i] > 0]) for i in found]

    def evaluate(self) -> dict[str, float]:
        """Figures of held-out pseudo-queries over their passages and `dev_corpus` others."""
        encoder = TorchEncoder(self.model)
        asked = tok.encode_batch(self.tokenizer, [p.query for p in self.dev], 64)
        queries = self.table_vectors(asked) if self.table is not None else encoder.encode(asked, 64)
        rng = random.Random(self.recipe.seed)
        others = rng.sample(self.pairs, min(len(self.pairs), self.recipe.dev_corpus))
        corpus = [p.passage for p in self.dev + others]
        documents = encoder.encode(tok.encode_batch(self.tokenizer, corpus, 256), 256)
        width = self.model.config.vocabulary
        if self.space is not None:
            dev, top_k = [p.query for p in self.dev], {"query": 64, "document": 256}
            queries, documents, width = joined_sides(self.space, dev, queries, corpus, documents, top_k)
        scores = score_matrix(queries, documents, width)
        names = [str(n) for n in range(len(corpus))]
        relevant = {str(n): {str(n): 1} for n in range(len(self.dev))}
        figures = ranking_figures(scores, names[: len(self.dev)], names, relevant)
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
                # In a group the processes' clocks differ: there the steps decide when to save.
                due = (
                    time.monotonic() - saved > self.recipe.save_every_seconds
                    if self.processes.count == 1
                    else self.step % self.recipe.evaluate_every == 0
                )
                self.stop = self.processes.any(self.stop)
                if due:
                    self.save()
                    saved = time.monotonic()
                if self.step in self.recipe.keep_at:
                    self.save_weights(f"master-{self.step}.pt")
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
