"""What a precision or a layer costs: size, speed and nDCG@10 of one model at several precisions or depths."""

from __future__ import annotations

import copy
import json
import random
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from tokenizers import Tokenizer

from . import tokenizer as tok
from .checkpoints import Description, write
from .evaluate import Collection, OnnxEncoder, evaluate
from .lexicon import Lexicon
from .model import SparseEncoder
from .plot import COLOURS

ROUNDS = 5
"""How often each candidate encodes the timed texts; they take turns, so that noise meets all alike."""


@dataclass(frozen=True)
class Row:
    """One candidate: bytes of its graph, tokens per second, nDCG@10 and terms by collection."""

    precision: str
    layers: int
    bytes: int
    tokens_per_second: float
    ndcg: dict[str, float]
    terms_query: float
    terms_document: float


def shortened(model: SparseEncoder, layers: int) -> SparseEncoder:
    """The model with its first `layers` layers only."""
    if not 0 < layers <= model.config.layers:
        raise ValueError(f"the model has {model.config.layers} layers, not {layers}")
    cut = copy.deepcopy(model)
    cut.layers = cut.layers[:layers]
    cut.config = replace(model.config, layers=layers)
    return cut


def measure(
    model: SparseEncoder,
    tokenizer_json: str,
    lexicon: Lexicon | None,
    candidates: Iterable[tuple[str, int]],
    collections: list[Collection],
    about: Description,
    directory: Path,
    threads: int,
    corpus_idf: bool,
    say: Callable[[str], None],
) -> list[Row]:
    """Export every (precision, layers) below `directory`, time them by turns, and measure what they retrieve."""
    tokenizer = Tokenizer.from_str(tokenizer_json)
    folders: dict[tuple[str, int], Path] = {}
    for precision, layers in candidates:
        folder = directory / f"{precision}-{layers}"
        write(folder, shortened(model, layers), tokenizer_json, precision, about, None, lexicon)
        folders[precision, layers] = folder
    encoders = {key: OnnxEncoder(folder, threads) for key, folder in folders.items()}
    texts = [text for c in collections for text in c.documents.values()]
    sample = random.Random(1).sample(texts, min(len(texts), 128))
    rows = tok.encode_batch(tokenizer, sample, about.max_tokens["document"])
    tokens = sum(len(row) for row in rows)
    rates: dict[tuple[str, int], list[float]] = {key: [] for key in encoders}
    for turn in range(ROUNDS + 1):
        for key, encoder in encoders.items():
            began = time.perf_counter()
            encoder.encode(rows, about.top_k["document"])
            if turn:  # The first turn warms up.
                rates[key].append(tokens / (time.perf_counter() - began))
    result: list[Row] = []
    for (precision, layers), encoder in encoders.items():
        figures = {
            c.name: evaluate(encoder, tokenizer, c, about.max_tokens, about.top_k, lexicon, corpus_idf)
            for c in collections
        }
        row = Row(
            precision,
            layers,
            sum(f.stat().st_size for f in folders[precision, layers].glob("model.onnx*")),
            statistics.median(rates[precision, layers]),
            {name: f["ndcg@10"] for name, f in figures.items()},
            statistics.mean(f["terms/query"] for f in figures.values()),
            statistics.mean(f["terms/document"] for f in figures.values()),
        )
        say(json.dumps(asdict(row)))
        result.append(row)
    return result


def markdown(rows: list[Row]) -> str:
    """The rows as a table, each figure beside its share of the first row's."""
    names = list(rows[0].ndcg)
    lines = [
        "| precision | layers | MB | tokens/s | " + " | ".join(names) + " | mean nDCG@10 | of the first |",
        "|---|---|---|---|" + "---|" * len(names) + "---|---|",
    ]
    first = statistics.mean(rows[0].ndcg.values())
    for row in rows:
        mean = statistics.mean(row.ndcg.values())
        cells = [
            row.precision,
            str(row.layers),
            f"{row.bytes / 1e6:.0f}",
            f"{row.tokens_per_second:,.0f}",
            *(f"{row.ndcg[name]:.4f}" for name in names),
            f"{mean:.4f}",
            f"{100 * mean / first:.1f} %",
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def draw(rows: list[Row], out: Path) -> None:
    """Quality against size, and against speed, a point a candidate."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, panels = plt.subplots(1, 2, figsize=(10, 4), layout="constrained", sharey=True)
    means = [statistics.mean(row.ndcg.values()) for row in rows]
    axes_of = (("model.onnx, MB", lambda r: r.bytes / 1e6), ("tokens per second", lambda r: r.tokens_per_second))
    for axes, (title, value) in zip(panels, axes_of, strict=True):
        for n, row in enumerate(rows):
            x, y = value(row), statistics.mean(row.ndcg.values())
            label = f"{row.precision}, {row.layers} layers"
            axes.plot(x, y, "o", markersize=9, color=COLOURS[n % len(COLOURS)], label=label)
        axes.set_xlabel(title)
        axes.margins(x=0.1)
        axes.set_xlim(left=0)
        # A tenth around what was measured: differences of a thousandth should look like what they are.
        axes.set_ylim(0.9 * min(means), 1.1 * max(means))
        axes.grid(alpha=0.25)
        axes.spines[["top", "right"]].set_visible(False)
    panels[0].set_ylabel("mean nDCG@10")
    panels[1].legend(loc="lower right", frameon=False)
    figure.savefig(out, dpi=120)
    plt.close(figure)
