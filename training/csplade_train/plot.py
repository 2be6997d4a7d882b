"""Plots of runs: loss, active terms, gradient norm and held-out ranking, from their logs."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00")
"""Okabe and Ito's colours: told apart by everyone."""


@dataclass
class Log:
    """What a run's log.jsonl says: one row a step, held-out figures, and how it collapsed if it did."""

    name: str
    steps: list[dict[str, float]] = field(default_factory=list)
    dev: list[dict[str, float]] = field(default_factory=list)
    collapsed: tuple[int, str] | None = None


def read(run: Path, name: str | None = None) -> Log:
    """Read a run directory's log.  Raises FileNotFoundError if it has none."""
    path = run / "log.jsonl"
    if not path.exists():
        raise FileNotFoundError(f"{run} has no log.jsonl: name a run directory of `csplade-train train`")
    log = Log(name or run.name)
    for line in path.read_text(encoding="utf-8").splitlines():
        row: dict[str, Any] = json.loads(line)
        if "loss" in row:
            log.steps.append(row)
        elif "dev" in row:
            log.dev.append({"step": row["step"], **row["dev"]})
        elif "collapsed" in row:
            log.collapsed = (int(row["step"]), str(row["collapsed"]))
    return log


def smoothed(values: list[float], window: int) -> list[float]:
    """Running means over up to `window` values, as long as `values`."""
    result: list[float] = []
    for n in range(len(values)):
        part = values[max(0, n - window + 1) : n + 1]
        result.append(sum(part) / len(part))
    return result


def curve(log: Log, key: str) -> tuple[list[int], list[float]]:
    rows = [(int(r["step"]), float(r[key])) for r in log.steps if key in r]
    return [s for s, _ in rows], [v for _, v in rows]


def plot(logs: Iterable[Log], out: Path, window: int = 10) -> None:
    """Write one picture (PNG or SVG by the name's ending) with four panels, a colour a run."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    figure, ((loss, terms), (gradient, ranking)) = plt.subplots(2, 2, figsize=(11, 7), layout="constrained")
    panels = ((loss, "contrast", "contrastive loss"), (gradient, "grad", "gradient norm before clipping"))
    collapses = 0
    for colour, log in zip(COLOURS * 3, logs, strict=False):
        for axes, key, _ in panels:
            steps, values = curve(log, key)
            axes.plot(steps, values, color=colour, alpha=0.2, linewidth=0.8)
            axes.plot(steps, smoothed(values, window), color=colour, label=log.name)
        for key, style in (("terms_document", "-"), ("terms_query", "--"), ("terms", ":")):
            steps, values = curve(log, key)
            if values:
                # A count of 0 would vanish from a logarithmic axis, and 0 is what a collapse looks like.
                shown = [max(v, 0.1) for v in smoothed(values, window)]
                terms.plot(steps, shown, style, color=colour)
        if log.dev:
            ranking.plot([r["step"] for r in log.dev], [r["mrr@10"] for r in log.dev], "o-", color=colour)
        if log.collapsed:
            step, _ = log.collapsed
            for axes in (loss, terms, gradient, ranking):
                axes.axvline(step, color=colour, linestyle=":", linewidth=1)
            loss.annotate(
                "collapsed",
                (step, 0.97 - 0.06 * collapses),
                xycoords=("data", "axes fraction"),
                color=colour,
                ha="right",
                va="top",
            )
            collapses += 1  # Each label below the one before: runs often collapse within a few steps of each other.
    for axes, _, title in panels:
        axes.set_title(title)
    loss.legend(loc="best", frameon=False)
    loss.set_yscale("log")
    loss.set_ylim(bottom=max(loss.get_ylim()[0], 0.02))  # One batch without a mistake would take all the room.
    gradient.set_yscale("log")
    terms.set_yscale("log")
    terms.set_title("active terms of a text")
    for style, meaning in (("-", "documents"), ("--", "queries"), (":", "both, while adapting")):
        terms.plot([], [], style, color="grey", label=meaning)
    terms.legend(loc="best", frameon=False)
    for axes in (loss, terms, gradient):
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(StrMethodFormatter("{x:g}"))
        axes.yaxis.set_minor_formatter(NullFormatter())
    ranking.set_title("MRR@10 of held-out pseudo-queries")
    for axes in (loss, terms, gradient, ranking):
        axes.set_xlabel("step")
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.savefig(out, dpi=120)
    plt.close(figure)
