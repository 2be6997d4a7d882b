"""Training learns, in both variants."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_resume import train
from world import start_run


@pytest.mark.parametrize("variant", ["bi", "echo"])
def test_a_short_run_lowers_its_loss_and_keeps_ranking_held_out_queries(tmp_path: Path, variant: str) -> None:
    recipe = {"steps": 78, "adaptation_steps": 0, "evaluate_every": 78, "flops_document": 0.0, "flops_query": 0.0}
    start_run(tmp_path, recipe | {"learning_rate": 3e-3, "term_rate": 1e-2, "save_every_seconds": 600}, variant)
    assert train(tmp_path) == 0
    log = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    dev = [row["dev"] for row in log if "dev" in row]
    losses = [row["contrast"] for row in log if "contrast" in row]
    assert sum(losses[-26:]) < 0.8 * sum(losses[:26]), "three epochs of 26 steps"
    assert dev[-1]["mrr@10"] > 0.85 * dev[0]["mrr@10"]
    assert 1 < dev[-1]["terms/query"] < 200
