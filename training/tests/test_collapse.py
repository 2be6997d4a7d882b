"""A run that has died stops and says why, instead of burning hours."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
from test_resume import train
from world import start_run

from csplade_train.collapse import Collapsed, Watch


def test_a_run_whose_sparsity_weight_kills_every_term_stops_with_status_3(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    start_run(
        tmp_path,
        {
            "steps": 200,
            "adaptation_steps": 0,
            "l1_document": 5.0,
            "l1_query": 5.0,
            "ramp_until": 1,
            "term_rate": 0.5,
            "warmup": 1,
        },
    )
    assert train(tmp_path) == 3
    assert "collapsed" in capsys.readouterr().err
    last = json.loads((tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()[-1])
    assert "collapsed" in last and last["step"] < 100


def fill(watch: Watch, contrast: float, query: float, document: float) -> None:
    for _ in range(watch.window):
        watch.see(contrast, query, document)


@pytest.mark.parametrize(
    ("contrast", "query", "document", "reason"),
    [
        (math.nan, 20.0, 100.0, "nan"),
        (1.0, 0.8, 100.0, "active terms a text"),
        (1.0, 20.0, 900.0, "active terms a document"),
        (math.log(16), 20.0, 100.0, "at chance"),
    ],
)
def test_each_way_to_collapse_is_named(contrast: float, query: float, document: float, reason: str) -> None:
    with pytest.raises(Collapsed, match=reason):
        fill(Watch(16, 1000), contrast, query, document)


def test_a_healthy_run_and_a_single_bad_step_pass() -> None:
    watch = Watch(16, 1000)
    fill(watch, 1.2, 20.0, 100.0)
    watch.see(math.log(16), 0.5, 100.0)
    fill(watch, 1.1, 20.0, 100.0)


def test_a_loss_above_chance_that_still_falls_is_no_collapse_until_it_stops_falling() -> None:
    watch = Watch(16, 1000)
    for step in range(2 * watch.window):
        watch.see(20.0 * 0.96**step, 20.0, 100.0)
    with pytest.raises(Collapsed, match="at chance"):
        fill(watch, 3.0, 20.0, 100.0)
        fill(watch, 3.0, 20.0, 100.0)


def test_a_restored_watch_collapses_at_the_same_step() -> None:
    watch, other = Watch(16, 1000), Watch(16, 1000)
    for _ in range(watch.window - 1):
        watch.see(math.log(16), 20.0, 100.0)
    other.restore(watch.state())
    with pytest.raises(Collapsed):
        other.see(math.log(16), 20.0, 100.0)
