"""Runs one training in two processes on this CPU, as `accelerate launch` would."""

from __future__ import annotations

import multiprocessing
import os
import socket
import sys
from pathlib import Path

from test_resume import train


def member(rank: int, port: int, directory: Path) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "ACCELERATE_USE_CPU": "true",
    }  # fmt: skip
    sys.exit(train(directory))


def train_in_two(directory: Path, deadline: float = 900.0) -> None:
    """Train; raises AssertionError unless both processes end well before the deadline, in seconds."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    # Not forked: a copy of this process would wait for torch's threads, which are not copied with it.
    context = multiprocessing.get_context("spawn")
    members = [context.Process(target=member, args=(rank, port, directory)) for rank in range(2)]
    for process in members:
        process.start()
    for process in members:
        process.join(deadline)
    alive = [process for process in members if process.is_alive()]
    for process in alive:
        process.kill()
    assert not alive and [process.exitcode for process in members] == [0, 0]
