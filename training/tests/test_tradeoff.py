"""A run with a lexical part trains, is exported whole, and is measured at every precision and depth."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from world import pairs, start_run

from csplade_train import cli, tradeoff


def write_collection(directory: Path) -> None:
    made = pairs(60)
    (directory / "qrels").mkdir(parents=True)
    rows = [json.dumps({"_id": f"d{n}", "title": "", "text": p.passage}) for n, p in enumerate(made)]
    (directory / "corpus.jsonl").write_text("\n".join(rows), encoding="utf-8")
    rows = [json.dumps({"_id": f"q{n}", "text": p.query}) for n, p in enumerate(made[:12])]
    (directory / "queries.jsonl").write_text("\n".join(rows), encoding="utf-8")
    judged = ["query-id\tcorpus-id\tscore", *(f"q{n}\td{n}\t1" for n in range(12))]
    (directory / "qrels" / "test.tsv").write_text("\n".join(judged), encoding="utf-8")


def test_a_lexical_run_trains_and_its_trade_off_is_a_table_and_a_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run, data = tmp_path / "run", tmp_path / "invented"
    corpus = start_run(run, {"lexicon": True, "student_temperature": 0.0625, "steps": 12})
    write_collection(data)
    assert cli.main(["train", "--pairs", str(corpus), "--run", str(run), "--dev", "20", "--threads", "1"]) == 0
    assert cli.main(["export", "--run", str(run), "--out", str(tmp_path / "made"), "--precision", "int8"]) == 0
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"]["lexicon.json"]["bytes"] == (tmp_path / "made" / "lexicon.json").stat().st_size
    capsys.readouterr()
    command = ["evaluate", "--checkpoint", str(tmp_path / "made"), "--data", str(data), "--threads", "1"]
    assert cli.main([*command, "--corpus-idf"]) == 0
    figures = json.loads(capsys.readouterr().out)
    assert figures["ndcg@10"] > 0.5 and figures["terms/query"] >= 3
    command = ["tradeoff", "--run", str(run), "--data", str(data), "--work", str(tmp_path / "work"), "--threads", "1"]
    command += ["--candidate", "fp32", "--candidate", "int8", "--candidate", "int8:1", "--out", str(tmp_path / "t.svg")]
    assert cli.main(command) == 0
    table = capsys.readouterr().out.splitlines()
    assert [row.split("|")[1:3] for row in table[2:]] == [[" fp32 ", " 2 "], [" int8 ", " 2 "], [" int8 ", " 1 "]]
    assert "100.0 %" in table[2] and "<svg" in (tmp_path / "t.svg").read_text(encoding="utf-8")


def test_a_model_cannot_keep_more_layers_than_it_has(tmp_path: Path) -> None:
    from world import tiny_start

    model, _, _ = tiny_start(pairs(40))
    assert tradeoff.shortened(model, 1).config.layers == 1 and model.config.layers == 2
    with pytest.raises(ValueError, match="2 layers, not 3"):
        tradeoff.shortened(model, 3)
