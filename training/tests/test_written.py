"""Queries that a language model writes: what is kept of them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_base import llama
from world import pairs

from csplade_train import cli, mining
from csplade_train.data import written
from csplade_train.data.pairs import Pair, read, write
from csplade_train.tokenizer import PAD_TOKEN

PASSAGE = "Yeast feeds on the sugars of the dough and gives off carbon dioxide."


@pytest.mark.parametrize(
    ("line", "query"),
    [
        (" why does bread rise\n\nText: another", "why does bread rise"),
        ('Query: "bread, yeast and sugar".', "bread, yeast and sugar"),
        ("sugars of the dough", "sugars of the dough"),
        ("yeast feeds on the sugars of the dough", None),
        ("bread", None),
        ("bread bread bread bread", None),
        ("", None),
        ("word " * 3 + " ".join(f"w{n}" for n in range(20)), None),
    ],
)
def test_a_query_is_one_line_of_a_few_words_and_no_copy_of_its_passage(line: str, query: str | None) -> None:
    assert written.cleaned(line, PASSAGE) == query


def test_pairs_keep_the_source_and_group_of_their_passage_and_lines_without_a_query_are_left_out() -> None:
    given = [Pair("", f"{PASSAGE} {n}", f"source{n}", f"group{n}") for n in range(5)]
    lines = iter([["why bread rises", ""], ["x", "baking with yeast"], ["bread dough sugar"]])
    made = list(written.written(given, lambda _: next(lines), batch=2))
    assert [(p.query, p.source, p.group) for p in made] == [
        ("why bread rises", "source0", "group0"),
        ("baking with yeast", "source3", "group3"),
        ("bread dough sugar", "source4", "group4"),
    ]


def test_a_passage_is_shown_after_examples_and_cut() -> None:
    prompt = written.prompt("word " * 1000)
    assert prompt.endswith("\nSearch query:") and prompt.count("Search query:") == 1 + len(written.EXAMPLES)
    assert len(prompt) < 1500 + written.MOST_CHARACTERS


def test_only_queries_that_find_their_own_passage_are_kept() -> None:
    passages = ["yeast makes bread rise", "a lighthouse guides ships", "ships carry bread", "a lighthouse guides ships"]
    queries = ["bread yeast", "lighthouse ships", "lighthouse", "nothing known"]
    assert mining.found_again(queries, passages, 1) == [0, 1]
    assert mining.found_again(queries, passages, 10) == [0, 1]
    assert mining.found_again([], [], 1) == []


def test_the_command_shows_passages_to_a_model_and_writes_pairs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = llama(tmp_path / "llama")
    (tmp_path / "llama" / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "pad_token": PAD_TOKEN})
    )
    write(tmp_path / "pairs.jsonl", pairs(20))
    words = ["write-queries", "--pairs", str(tmp_path / "pairs.jsonl"), "--model", str(model), "--count", "6"]
    assert cli.main([*words, "--out", str(tmp_path / "a.jsonl"), "--rank", "20"]) == 0
    assert cli.main([*words, "--out", str(tmp_path / "b.jsonl"), "--rank", "20"]) == 0
    assert "written to 6 passages" in capsys.readouterr().out
    known = {p.passage for p in pairs(20)}
    made = read(tmp_path / "a.jsonl")
    assert made == read(tmp_path / "b.jsonl") and all(p.passage in known for p in made)
