"""What is exported computes what was trained: torch against ONNX Runtime, per variant and precision."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from tokenizers import Tokenizer
from world import pairs, tiny_start

from csplade_train import checkpoints
from csplade_train import tokenizer as tok
from csplade_train.batches import padded
from csplade_train.cli import main
from csplade_train.model import SparseEncoder
from csplade_train.onnx_graph import COLUMNS_NOTE, Graph, Target
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


def widest(model: onnx.ModelProto) -> int:
    """Rows of the largest slice that the graph cuts out of the vocabulary's matrix."""
    ends = {i.name: onnx.numpy_helper.to_array(i) for i in model.graph.initializer if i.name.startswith("i_")}
    added = [node.input[1] for node in model.graph.node if node.op_type == "Add" and node.input[1] in ends]
    places = [int(ends[name][0]) for name in added]
    return max((end - start for start, end in zip(places[0::2], places[1::2], strict=True)), default=0)


@pytest.mark.parametrize("precision", ["fp16", "int4"])
def test_a_graph_for_cuda_gives_the_same_weights_and_multiplies_the_vocabulary_in_slices(
    encoder: tuple[SparseEncoder, str, list[list[int]]], precision: str, tmp_path: Path
) -> None:
    model, text, rows = encoder
    columns = 100
    target = Target("cuda", columns)
    manifest = checkpoints.write(tmp_path, model, text, precision, ABOUT, target=target)
    assert manifest["provider"] == "cuda"
    got = dense(session(tmp_path), rows, model.config.vocabulary)
    with torch.no_grad():
        expected = (model if precision == "fp16" else quantized(model, precision))(*padded(rows)).numpy()
    assert (expected > 0).sum(1).max() > 10, "a test on empty vectors would prove nothing"
    assert np.abs(got - expected).max() < (0.02 if precision == "fp16" else 0.12)
    assert np.abs(got - expected).mean() < np.abs(expected).mean() * 0.02
    graph = onnx.load(str(tmp_path / "model.onnx"))
    assert 0 < widest(graph) <= columns < model.config.vocabulary
    notes = {entry.key: entry.value for entry in graph.metadata_props}
    assert notes[COLUMNS_NOTE] == str(columns)
    # One copy of the vocabulary's matrix, in half precision or in four bits.
    stored = sum(len(t.raw_data) for t in graph.graph.initializer)
    parameters = sum(t.numel() for n, t in model.state_dict().items() if t.ndim == 2)
    assert stored < parameters * (2 if precision == "fp16" else 0.7) + 600_000


def test_int8_is_refused_for_cuda_and_nonsense_everywhere() -> None:
    with pytest.raises(ValueError, match="fp16 or int4"):
        Graph("int8", 32, Target("cuda"))
    with pytest.raises(ValueError, match="provider"):
        Target("tpu")
    with pytest.raises(ValueError, match="column"):
        Target("cuda", 0)


@pytest.mark.parametrize("source", ["fp32", "int8"])
def test_a_checkpoint_is_exported_again_for_cuda_in_its_own_weight_space(
    encoder: tuple[SparseEncoder, str, list[list[int]]], source: str, tmp_path: Path
) -> None:
    model, text, rows = encoder
    first = checkpoints.write(tmp_path / "first", model, text, source, ABOUT)
    words = ["export-again", "--checkpoint", str(tmp_path / "first"), "--out", str(tmp_path / "again")]
    assert main([*words, "--precision", "fp16", "--provider", "cuda", "--columns", "64"]) == 0
    again = json.loads((tmp_path / "again" / "manifest.json").read_text(encoding="utf-8"))
    assert again["fingerprint"] == first["fingerprint"]
    assert (again["provider"], again["precision"]) == ("cuda", "fp16")
    before = dense(session(tmp_path / "first"), rows, model.config.vocabulary)
    after = dense(session(tmp_path / "again"), rows, model.config.vocabulary)
    assert np.abs(before - after).max() < (0.02 if source == "fp32" else 0.12)


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
