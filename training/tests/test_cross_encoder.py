"""Published cross-encoders: Node gives the scores that their own library gives."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cross_encoder_folders import classifier
from node_encoder import PROJECT, built
from published_folders import LIMIT, LONG, TEXTS
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from csplade_train import cli

QUESTION = TEXTS[1]
SCRIPT = PROJECT / "dist" / "test" / "support" / "rerank-once.js"


def converted(directory: Path, out: Path, *more: str) -> dict[str, Any]:
    words = ["convert", str(directory), "--out", str(out), "--name", "test", "--license", "Apache-2.0"]
    assert cli.main([*words, "--precision", "fp32", *more]) == 0
    return json.loads((out / "manifest.json").read_text(encoding="utf-8"))


def in_node(checkpoint: Path, question: str, texts: list[str]) -> np.ndarray:
    built()
    node = shutil.which("node")
    assert node is not None, "Node.js is needed"
    asked = json.dumps({"question": question, "texts": texts})
    ended = subprocess.run(
        [node, str(SCRIPT), str(checkpoint)], input=asked, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return np.array(json.loads(ended.stdout), dtype=np.float64)


@pytest.mark.parametrize("kind", ["bert", "distilbert", "roberta", "modernbert-cls", "modernbert-mean"])
def test_a_cross_encoder_gives_in_node_what_transformers_gives_and_only_the_text_is_cut(
    kind: str, tmp_path: Path
) -> None:
    source = classifier(kind, tmp_path / "model")
    manifest = converted(source, tmp_path / "out")
    assert manifest["kind"] == "cross-encoder" and manifest["max_tokens"] == LIMIT
    tokenizer = AutoTokenizer.from_pretrained(source)
    model = AutoModelForSequenceClassification.from_pretrained(source).eval()
    expected = []
    for text in [*TEXTS, LONG]:
        pair = tokenizer(QUESTION, text, truncation="only_second", max_length=LIMIT, return_tensors="pt")
        with torch.no_grad():
            expected.append(float(torch.sigmoid(model(**pair).logits[0, 0])))
    got = in_node(tmp_path / "out", QUESTION, [*TEXTS, LONG])
    assert np.ptp(expected) > 1e-2, "texts have different scores"
    assert np.abs(got - np.array(expected)).max() < 1e-4


def test_the_scores_are_those_of_sentence_transformers_with_the_activation_that_the_folder_names(
    tmp_path: Path,
) -> None:
    from sentence_transformers import CrossEncoder

    source = classifier("bert", tmp_path / "model")
    for activation, name in ((torch.nn.Sigmoid(), "sigmoid"), (torch.nn.Identity(), "identity")):
        model = CrossEncoder(str(source), activation_fn=activation, device="cpu")
        model.save_pretrained(str(tmp_path / name))
        assert converted(tmp_path / name, tmp_path / "out")["activation"] == name
        expected = model.predict([(QUESTION, text) for text in TEXTS], show_progress_bar=False)
        assert np.abs(in_node(tmp_path / "out", QUESTION, TEXTS) - expected).max() < 1e-4


def test_a_classifier_of_several_labels_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = classifier("bert", tmp_path / "model", labels=3)
    words = ["convert", str(source), "--out", str(tmp_path / "out"), "--name", "test", "--license", "MIT"]
    assert cli.main(words) == 2
    assert "one label" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
