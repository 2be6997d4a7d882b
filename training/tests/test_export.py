"""What is exported computes what was trained: torch against ONNX Runtime, per variant and precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from world import pairs, tiny_start

from csplade_train import checkpoints
from csplade_train import tokenizer as tok
from csplade_train.batches import padded
from csplade_train.model import SparseEncoder
from csplade_train.quantize import dequantize_blocks, dequantize_rows, quantize_blocks, quantize_rows

ABOUT = checkpoints.Description(
    "csplade-test",
    {"name": "random", "source": "seed 5", "license": "Apache-2.0"},
    {"document": 64, "query": 32},
    {"document": 64, "query": 32},
)
TOLERANCE = {"fp32": 2e-4, "fp16": 4e-3}


def session(directory: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return onnxruntime.InferenceSession(str(directory / "model.onnx"), options, providers=["CPUExecutionProvider"])


def dense(run: onnxruntime.InferenceSession, rows: list[list[int]], vocabulary: int) -> np.ndarray:
    """Weights [B, V] of all terms."""
    ids, mask = padded(rows)
    feed = {"input_ids": ids.numpy(), "attention_mask": mask.numpy(), "k": np.array([vocabulary], dtype=np.int64)}
    indices, values = run.run(["indices", "weights"], feed)
    result = np.zeros((len(rows), vocabulary), dtype=np.float32)
    np.put_along_axis(result, indices.astype(np.int64), values, axis=1)
    return result


def rounded_weight(weight: np.ndarray, precision: str) -> np.ndarray:
    """What the codes of W [N, K] stand for."""
    if precision == "int8":
        return dequantize_rows(*quantize_rows(weight))
    return dequantize_blocks(quantize_blocks(weight), weight.shape[1]).copy()


def quantized(model: SparseEncoder, precision: str) -> SparseEncoder:
    """The torch model with the weights that the codes stand for."""
    copy = SparseEncoder(model.config)
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, tensor in state.items():
        if tensor.ndim == 2 and (name == "embedding.weight" or name.startswith("layers.")):
            state[name] = torch.from_numpy(rounded_weight(tensor.numpy(), precision))
    copy.load_state_dict(state)
    return copy.eval()


@pytest.fixture(scope="module", params=["bi", "echo"])
def encoder(request: pytest.FixtureRequest) -> tuple[SparseEncoder, str, list[list[int]]]:
    made = pairs(60)
    model, text, _ = tiny_start(made, request.param)
    with torch.no_grad():
        model.emphasis.weight.normal_(std=0.05)
    texts = [p.passage for p in made[:5]] + [p.query for p in made[:5]] + ["", "zu", "zu " * 40]
    return model.eval(), text, tok.encode_batch(Tokenizer.from_str(text), texts, 64)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "int8", "int4"])
def test_onnx_runtime_gives_the_weights_of_torch(
    encoder: tuple[SparseEncoder, str, list[list[int]]], precision: str, tmp_path: Path
) -> None:
    model, text, rows = encoder
    manifest = checkpoints.write(tmp_path, model, text, precision, ABOUT)
    got = dense(session(tmp_path), rows, model.config.vocabulary)
    with torch.no_grad():
        expected = model(*padded(rows)).numpy()
    assert (expected > 0).sum(1).max() > 10, "a test on empty vectors would prove nothing"
    if precision in TOLERANCE:
        np.testing.assert_allclose(got, expected, atol=TOLERANCE[precision])
    else:
        # The weights are rounded alike in torch; what is left is the runtime's rounding of activations.
        with torch.no_grad():
            rounded = quantized(model, precision)(*padded(rows)).numpy()
        assert np.abs(got - rounded).max() < 0.12
        assert np.abs(got - rounded).mean() < np.abs(rounded).mean() * 0.05
    for name, entry in manifest["files"].items():  # type: ignore[attr-defined]
        assert (tmp_path / name).stat().st_size == entry["bytes"]
        assert checkpoints.sha256_of(tmp_path / name) == entry["sha256"]
    assert json.loads((tmp_path / "manifest.json").read_text(encoding="utf-8"))["precision"] == precision


@pytest.mark.parametrize("precision", ["fp32", "int8", "int4"])
def test_padding_and_company_in_a_batch_do_not_change_a_text(
    encoder: tuple[SparseEncoder, str, list[list[int]]], precision: str, tmp_path: Path
) -> None:
    model, text, rows = encoder
    checkpoints.write(tmp_path, model, text, precision, ABOUT)
    run = session(tmp_path)
    together = dense(run, rows, model.config.vocabulary)
    alone = np.concatenate([dense(run, [row], model.config.vocabulary) for row in rows])
    np.testing.assert_allclose(together, alone, atol=2e-5)
    assert not together[10].any(), "an empty text has no terms"


def test_torch_gives_a_text_the_same_weights_alone_padded_and_in_company(
    encoder: tuple[SparseEncoder, str, list[list[int]]],
) -> None:
    model, _, rows = encoder
    with torch.no_grad():
        together = model(*padded(rows))
        alone = torch.cat([model(*padded([row])) for row in rows])
    torch.testing.assert_close(together, alone, atol=2e-5, rtol=0)


def test_every_precision_has_one_fingerprint_and_another_weight_another(
    encoder: tuple[SparseEncoder, str, list[list[int]]],
) -> None:
    model, text, _ = encoder
    before = checkpoints.fingerprint(model, text)
    changed = SparseEncoder(model.config)
    changed.load_state_dict(model.state_dict())
    assert checkpoints.fingerprint(changed, text) == before
    with torch.no_grad():
        changed.bias[7] += 1e-3
    assert checkpoints.fingerprint(changed, text) != before
    assert checkpoints.fingerprint(model, text + " ") != before


def test_masters_keep_their_names_so_that_old_files_go_on_loading(
    encoder: tuple[SparseEncoder, str, list[list[int]]], tmp_path: Path
) -> None:
    model, text, rows = encoder
    checkpoints.save_master(tmp_path / "master.pt", model, text)
    loaded, loaded_text = checkpoints.load_master(tmp_path / "master.pt")
    assert loaded_text == text
    with torch.no_grad():
        assert torch.equal(loaded.eval()(*padded(rows)), model(*padded(rows)))
    names = {name for name in model.state_dict() if not name.startswith("layers.")}
    assert names == {
        "embedding.weight", "norm.weight", "skip.weight", "emphasis.weight", "frequency_power", "length_power",
        "offset", "gain", "bias", "embedding_mean", "embedding_scale", "term_mask",
    }  # fmt: skip
