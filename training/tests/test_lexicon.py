"""The lexical part: words, ids, BM25 by dot product, both parts in one vector."""

import math
from collections import Counter

import pytest
import torch
from tokenizers import Tokenizer

from csplade_train import tokenizer as tok
from csplade_train.lexicon import HASHED, Lexicon, TermSpace, hashed_id, lexicon_of, stem, words

TEXTS = [
    "the cat sat on the mat",
    "cats and dogs sit on mats while a dog sleeps",
    "deadlocks of processes waiting for locks",
    "a deadlock stops every process",
] * 3


def test_words_are_runs_of_letters_and_digits_and_ideographs_come_in_pairs() -> None:
    assert words("Don't stop_here: Mach 2.5, \ufb01ne na\u00efve!") == [
        "don", "t", "stop", "here", "mach", "2", "5", "fine", "na\u00efve",
    ]  # fmt: skip
    assert words("GPU\u4e2d\u6587\u68c0\u7d22 x") == ["gpu", "\u4e2d\u6587", "\u6587\u68c0", "\u68c0\u7d22", "x"]
    assert words("\u4e2d") == ["\u4e2d"] and words("x" * 65) == [] and words("") == []


def test_only_words_of_a_to_z_are_stemmed() -> None:
    assert [stem(w) for w in ("deadlocks", "x86s", "na\u00efvely")] == ["deadlock", "x86s", "na\u00efvely"]


def test_a_text_of_stop_words_alone_keeps_them() -> None:
    lexicon = Lexicon.of(TEXTS)
    assert lexicon.stems("The Who") == ["the", "who"]
    assert lexicon.stems("the cats") == ["cat"]


def test_the_product_of_two_lexical_parts_is_bm25() -> None:
    lexicon = Lexicon.of(TEXTS, least=1, length=4.0)
    query, document = "dogs and cats, dogs!", TEXTS[1]
    counts = Counter(lexicon.stems(document))
    norm = lexicon.k1 * (1 - lexicon.b + lexicon.b * counts.total() / 4.0)
    wanted = sum(lexicon.idf(t) * 2.2 * counts[t] / (counts[t] + norm) for t in ("dog", "dog", "cat"))
    q, d = lexicon.weights(query, "query"), lexicon.weights(document, "document")
    assert sum(w * d.get(t, 0.0) for t, w in q.items()) == pytest.approx(wanted)
    assert lexicon.best(query) >= wanted
    n = lexicon.document_frequencies["dog"]
    assert lexicon.idf("dog") == pytest.approx(math.log1p((12 - n + 0.5) / (n + 0.5)))


def test_a_lexicon_read_back_is_the_same(tmp_path) -> None:  # type: ignore[no-untyped-def]
    lexicon = Lexicon.of(TEXTS, length=7.0)
    assert lexicon_of(tmp_path) is None
    assert Lexicon.read(lexicon.write(tmp_path)) == lexicon == lexicon_of(tmp_path)
    (tmp_path / "lexicon.json").write_text('{"format": 2}')
    with pytest.raises(ValueError, match="no lexicon"):
        Lexicon.read(tmp_path / "lexicon.json")


def test_forms_of_one_word_share_a_term_and_words_without_rows_are_hashed() -> None:
    tokenizer = Tokenizer.from_str(tok.train(TEXTS, 400))
    rows = tokenizer.get_vocab()
    space = TermSpace(tokenizer, Lexicon.of(TEXTS, least=1))
    cat = space.of_row[rows["\u0120cats"]]
    assert int(cat) >= 0 and space.of_row[rows["\u0120the"]] == -1 and space.of_row[rows["o"]] == -1
    assert space.ids[space.column("cat")] == rows["\u0120cat" if "\u0120cat" in rows else "\u0120cats"]
    assert space.ids[space.column("zyzzyva")] == hashed_id("zyzzyva") >= HASHED
    assert hashed_id("") == HASHED + (0x811C9DC5 >> 1)


def test_both_parts_add_up_in_one_vector_and_in_training_alike() -> None:
    tokenizer = Tokenizer.from_str(tok.train(TEXTS, 400))
    space = TermSpace(tokenizer, Lexicon.of(TEXTS, least=1))
    text = "cats in a deadlock of zyzzyvas"
    weights = torch.zeros(1, tokenizer.get_vocab_size())
    row = tokenizer.get_vocab()["\u0120cats"]
    weights[0, row] = 2.0
    joined = space.joined(text, [row], [2.0], "document", 64)
    lexical = space.lexicon.weights(text, "document")
    assert joined[space.column("cat")] == pytest.approx(lexical["cat"] + 0.6 * 2.0)
    assert joined[space.column("zyzzyva")] == pytest.approx(lexical["zyzzyva"])
    width = space.known + 8
    whole = space.part([text], "document", width) + 0.6 * space.grouped(weights, width)
    assert float(whole.sum()) == pytest.approx(sum(joined.values()), rel=1e-5)
    assert len(space.joined(text, [row], [2.0], "document", 2)) == 2


def test_a_query_keeps_its_words_and_the_heaviest_of_what_the_model_adds() -> None:
    tokenizer = Tokenizer.from_str(tok.train(TEXTS, 400))
    lexicon = Lexicon.of(TEXTS, least=1, expansions={"query": 1})
    space = TermSpace(tokenizer, lexicon)
    rows = [r for r in space.ids[: space.known] if r < len(space.of_row)][:3]  # Of three terms.
    columns = [int(space.of_row[r]) for r in rows]
    query = space.joined("unheard", rows, [1.0, 3.0, 2.0], "query", 100)
    assert set(query) == {space.column("unheard"), columns[1]}
    document = space.joined("unheard", rows, [1.0, 3.0, 2.0], "document", 100)
    assert set(document) == {space.column("unheard"), *columns}
