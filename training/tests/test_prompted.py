"""A language model read at a prompt: the graph is transformers' model and the formula, whatever the batch."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest
import torch
from test_base import llama
from tokenizers import Tokenizer
from world import pairs

from csplade_train import base, cli, prompted
from csplade_train.lexicon import TermSpace, lexicon_of
from csplade_train.quantize import dequantize_affine, quantize_affine

TEXTS = [p.passage for p in pairs(60)]
LENGTH = 96
THRESHOLD = -0.5
"""Below what is usual: a random model says everything about equally often."""


def made(directory: Path, precision: str) -> tuple[Path, base.Base]:
    source = llama(directory / "llama")
    lines = "".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(TEXTS))
    (directory / "texts.jsonl").write_text(lines, encoding="utf-8")
    words = ["--model", str(source), "--texts", str(directory / "texts.jsonl"), "--out", str(directory / "out")]
    numbers = ["--length", str(LENGTH), "--sample", "40", "--threads", "1", "--threshold", str(THRESHOLD)]
    prompts = ["--prompt", "\\n\\nba ke", "--query-prompt", "\\n\\n{text}\\n\\nba ke"]
    assert cli.main(["read-at-prompt", *words, *numbers, *prompts, "--precision", precision]) == 0
    return directory / "out", base.load(source)


def vectors(directory: Path, rows: list[list[int]], size: int) -> np.ndarray:
    session = ort.InferenceSession(directory / "model.onnx", providers=["CPUExecutionProvider"])
    ids = np.zeros((len(rows), max(map(len, rows))), dtype=np.int64)
    mask = np.zeros_like(ids)
    for n, row in enumerate(rows):
        ids[n, : len(row)], mask[n, : len(row)] = row, 1
    names, weights = session.run(None, {"input_ids": ids, "attention_mask": mask, "k": np.array([size])})
    result = np.zeros((len(rows), size), dtype=np.float32)
    np.put_along_axis(result, names.astype(np.int64), weights, axis=1)
    return result


def expected(source: base.Base, bias: np.ndarray, rows: list[list[int]]) -> np.ndarray:
    model = prompted.causal_model(source)
    with torch.no_grad():
        logits = [model(input_ids=torch.tensor([row])).logits[0, -1] for row in rows]
    return np.maximum(torch.log_softmax(torch.stack(logits), -1).numpy() - bias, 0)


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_weights_are_log_probabilities_above_the_usual_ones(tmp_path: Path, precision: str, tolerance: float) -> None:
    directory, source = made(tmp_path, precision)
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["pooling"] == "prompt"
    assert manifest["prompt"] == {"document": "\n\nba ke", "query": "\n\n{text}\n\nba ke"}
    lexicon = lexicon_of(directory)
    assert lexicon is not None and lexicon.model_terms == "apart"
    space = TermSpace(Tokenizer.from_str(source.tokenizer_json), lexicon)
    sampled = random.Random(5).sample(TEXTS, 40)
    bias = prompted.bias_of(source, prompted.causal_model(source), space, sampled, "\n\nba ke", LENGTH, THRESHOLD)
    rows = prompted.prompted_rows(source, TEXTS[:7], "\n\nba ke", LENGTH)
    # The longest question, read twice, has its positions too.
    longest = prompted.prompted_rows(source, [" ".join(TEXTS)], "\n\n{text}\n\nba ke", manifest["max_tokens"]["query"])
    assert LENGTH + 50 < len(longest[0]) <= LENGTH + prompted.PROMPT_POSITIONS
    rows += longest
    found = vectors(directory, rows, manifest["vocabulary_size"])
    wanted = expected(source, bias, rows)
    assert np.abs(found - wanted).max() < tolerance < wanted.max()
    assert not found[:, bias >= prompted.NEVER].any()
    alone = np.concatenate([vectors(directory, [row], manifest["vocabulary_size"]) for row in rows])
    assert np.abs(found - alone).max() < 1e-3


def test_four_bits_of_weights_that_were_in_four_bits_lose_nothing() -> None:
    rng = np.random.default_rng(1)
    codes = rng.integers(0, 16, (8, 3, 32))
    codes[..., 0], codes[..., 1] = 0, 15
    scales = rng.uniform(0.01, 0.1, (8, 3, 1)).astype(np.float16).astype(np.float32)
    least = rng.uniform(-1, 0, (8, 3, 1)).astype(np.float16).astype(np.float32)
    weight = (codes * scales + least).reshape(8, 96).astype(np.float32)
    assert np.abs(dequantize_affine(quantize_affine(weight)) - weight).max() < 2e-3
