"""A run that is killed and resumed ends exactly where an undisturbed one ends."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path

import torch
from world import start_run

from csplade_train import cli


def train(directory: Path, *more: str) -> int:
    return cli.main(
        [
            "train",
            "--run",
            str(directory),
            "--pairs",
            str(directory / "pairs.jsonl"),
            "--threads",
            "1",
            "--dev",
            "12",
            *more,
        ]
    )


def rows(directory: Path) -> list[dict[str, float]]:
    text = (directory / "log.jsonl").read_text(encoding="utf-8")
    return [row for row in map(json.loads, text.splitlines()) if "loss" in row]


def kill_at(directory: Path, step: int) -> None:
    """Train in a process of its own and end it with SIGKILL once it has logged `step`."""
    process = multiprocessing.get_context("fork").Process(target=train, args=(directory,))
    process.start()
    deadline = time.monotonic() + 300
    log = directory / "log.jsonl"
    while time.monotonic() < deadline and process.is_alive():
        if log.exists() and f'{{"step": {step}, "seconds"' in log.read_text(encoding="utf-8"):
            break
        time.sleep(0.002)
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL, "the run ended before it could be killed"


def test_a_run_killed_with_sigkill_and_resumed_repeats_every_loss_and_weight_exactly(tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    for directory in (whole, broken):
        start_run(directory, {})
    assert train(whole) == 0
    kill_at(broken, 9)
    stopped = torch.load(broken / "state.pt", weights_only=True)["step"]
    assert 4 <= stopped < 24
    with open(broken / "log.jsonl", "a", encoding="utf-8") as out:
        out.write('{"step": 99, "lo')  # What a kill in the middle of a write leaves.
    assert train(broken, "--resume") == 0
    expected, got = rows(whole), rows(broken)
    assert [r["step"] for r in got] == list(range(1, 25))
    for name in ("loss", "grad"):
        assert [r[name] for r in got] == [r[name] for r in expected]
    first, second = (torch.load(d / "master.pt", weights_only=True)["state"] for d in (whole, broken))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_resuming_a_run_that_saved_nothing_says_so(tmp_path: Path) -> None:
    start_run(tmp_path, {})
    assert train(tmp_path, "--resume") == 2
