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

from csplade_train import base, cli, prompted, reader, reader_training
from csplade_train.batches import padded
from csplade_train.lexicon import Lexicon, TermSpace, lexicon_of
from csplade_train.quantize import dequantize_affine, quantize_affine

TEXTS = [p.passage for p in pairs(60)]
LENGTH = 96
THRESHOLD = -0.5
"""Below what is usual: a random model says everything about equally often."""


def made(directory: Path, precision: str, *more: str) -> tuple[Path, base.Base]:
    source = llama(directory / "llama")
    lines = "".join(json.dumps({"_id": str(n), "text": text}) + "\n" for n, text in enumerate(TEXTS))
    (directory / "texts.jsonl").write_text(lines, encoding="utf-8")
    words = ["--model", str(source), "--texts", str(directory / "texts.jsonl"), "--out", str(directory / "out")]
    numbers = ["--length", str(LENGTH), "--sample", "40", "--threads", "1", "--threshold", str(THRESHOLD)]
    prompts = ["--prompt", "\\n\\nba ke", "--query-prompt", "\\n\\n{text}\\n\\nba ke"]
    assert cli.main(["read-at-prompt", *words, *numbers, *prompts, "--precision", precision, *more]) == 0
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


PROMPT = "\n\nba ke"
TWICE = "\n\n{text}\n\nba ke"


def read_by(learnt: reader.Reader, source: base.Base, rows: list[list[int]]) -> torch.Tensor:
    ids, mask = padded([row[: len(row) - len(learnt.prompt)] for row in rows])
    with torch.no_grad():
        found: torch.Tensor = learnt(reader.cached(prompted.causal_model(source), ids), mask.sum(1))
    return found


def test_a_reader_that_learnt_nothing_reads_as_the_model_does(tmp_path: Path) -> None:
    source = base.load(llama(tmp_path / "llama"))
    rows = prompted.prompted_rows(source, TEXTS[:7], PROMPT, LENGTH)
    prompt = prompted.prompted_rows(source, [""], PROMPT, LENGTH)[0]
    found = read_by(reader.Reader(source, prompt, rank=3, first=1), source, rows)
    low = np.full(found.shape[1], -100, dtype=np.float32)
    assert np.abs(found.numpy() + 100 - expected(source, low, rows)).max() < 1e-3


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("int8", 0.15)])
def test_what_a_reader_learnt_is_in_the_graph_at_the_prompt_alone(
    tmp_path: Path, precision: str, tolerance: float
) -> None:
    source = base.load(llama(tmp_path / "llama"))
    prompt = prompted.prompted_rows(source, [""], PROMPT, LENGTH)[0]
    learnt = reader.Reader(source, prompt, rank=3, first=1)
    torch.manual_seed(4)
    with torch.no_grad():
        for value in learnt.learnt.values():
            value.add_(torch.randn_like(value) * 0.2)
    reader.write(tmp_path / "reader.safetensors", learnt.tensors(), {"steps": 5})
    directory, source = made(tmp_path, precision, "--reader", str(tmp_path / "reader.safetensors"))
    manifest = json.loads((directory / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["training"] == {"texts": 40, "steps": 5}
    lexicon = lexicon_of(directory)
    assert lexicon is not None
    space = TermSpace(Tokenizer.from_str(source.tokenizer_json), lexicon)
    sampled = random.Random(5).sample(TEXTS, 40)
    model = prompted.causal_model(source)
    bias = prompted.bias_of(source, model, space, sampled, PROMPT, LENGTH, THRESHOLD, learnt.tensors())
    rows = prompted.prompted_rows(source, TEXTS[:7], PROMPT, LENGTH)
    found = vectors(directory, rows, manifest["vocabulary_size"])
    wanted = np.maximum(read_by(learnt, source, rows).numpy() - bias, 0)
    assert np.abs(found - wanted).max() < tolerance
    assert np.abs(wanted - expected(source, bias, rows)).max() > 2 * tolerance


def test_training_a_reader_goes_on_to_the_digit_and_every_part_of_it_learns(tmp_path: Path) -> None:
    source = base.load(llama(tmp_path / "llama"))
    examples = pairs(60)
    lexicon = Lexicon.of(TEXTS)
    recipe = reader_training.Recipe(
        steps=12, batch=6, rank=3, first=1, rate=5e-3, query_tokens=12, passage_tokens=24, threshold=-0.5, usual_every=2
    )
    said: list[str] = []
    run = {"base": source, "pairs": examples, "lexicon": lexicon, "prompts": {"document": PROMPT, "query": TWICE}}
    run |= {"recipe": recipe, "embed": None, "say": said.append}
    whole = reader_training.train(**run, out=tmp_path / "whole.safetensors")  # type: ignore[arg-type]
    reader_training.train(**run, out=tmp_path / "parts.safetensors", until=5)  # type: ignore[arg-type]
    parts = reader_training.train(**run, out=tmp_path / "parts.safetensors")  # type: ignore[arg-type]
    for name, value in whole.tensors().items():
        assert torch.equal(value, parts.tensors()[name]), name
    tensors, told = reader.read(tmp_path / "whole.safetensors")
    assert told == {"steps": 12, "pairs": 60}
    assert all(value.abs().max() > 0 for value in tensors.values())
    assert all(torch.isfinite(value).all() for value in tensors.values())


def test_a_checkpoint_is_exported_again_for_cuda_in_its_own_weight_space(tmp_path: Path) -> None:
    first, source = made(tmp_path, "int8")
    words = ["export-again", "--checkpoint", str(first), "--out", str(tmp_path / "again")]
    assert cli.main([*words, "--precision", "fp16", "--provider", "cuda"]) == 0
    before, again = (json.loads((d / "manifest.json").read_text(encoding="utf-8")) for d in (first, tmp_path / "again"))
    changed = {"precision", "provider", "files"}
    assert {k: v for k, v in again.items() if k not in changed} == {k: v for k, v in before.items() if k not in changed}
    assert (again["provider"], again["precision"]) == ("cuda", "fp16")
    rows = prompted.prompted_rows(source, TEXTS[:7], "\n\nba ke", 24)
    wide, half = (vectors(d, rows, before["vocabulary_size"]) for d in (first, tmp_path / "again"))
    assert np.abs(wide - half).max() < 0.15
    assert (half > 0.5).any()
