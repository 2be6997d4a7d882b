"""Plots show what a log says, a collapse too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from csplade_train import cli, plot


def run(directory: Path, steps: int, collapsed: bool) -> Path:
    directory.mkdir()
    rows: list[dict[str, object]] = [{"step": 0, "dev": {"mrr@10": 0.4}}]
    rows += [
        {"step": n, "loss": 3.0 / n, "contrast": 2.0 / n, "grad": 10.0 / n, "terms_query": 20.0, "terms_document": 90.0}
        for n in range(1, steps + 1)
    ]
    rows.append(
        {"step": steps, "collapsed": "only 0.3 terms"} if collapsed else {"step": steps, "dev": {"mrr@10": 0.6}}
    )
    (directory / "log.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows), encoding="utf-8")
    return directory


def test_a_plot_of_two_runs_names_both_and_marks_the_collapse(tmp_path: Path) -> None:
    good, bad = run(tmp_path / "good", 40, False), run(tmp_path / "bad", 25, True)
    out = tmp_path / "runs.svg"
    words = ["plot", "--run", f"with adaptation={good}", "--run", f"without={bad}", "--out", str(out)]
    assert cli.main(words) == 0
    picture = out.read_text(encoding="utf-8")
    for text in ("with adaptation", "without", "collapsed", "gradient norm"):
        assert f"<!-- {text}" in picture


def test_the_log_is_read_whole(tmp_path: Path) -> None:
    log = plot.read(run(tmp_path / "bad", 25, True))
    assert len(log.steps) == 25 and log.collapsed == (25, "only 0.3 terms") and log.dev[0]["mrr@10"] == 0.4
    assert plot.curve(log, "contrast")[1][0] == pytest.approx(2.0)
    assert plot.smoothed([1.0, 3.0, 5.0], 2) == [1.0, 2.0, 4.0]


def test_a_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    assert cli.main(["plot", "--run", str(tmp_path), "--out", str(tmp_path / "x.png")]) == 2
