"""The reduced tokenizer keeps every text encodable and one spelling per word."""

from __future__ import annotations

import json

from tokenizers import Tokenizer
from world import pairs

from csplade_train import tokenizer as tok

TEXTS = [p.passage for p in pairs(60)]
ORIGINAL = tok.train(TEXTS, 420)


def reduced(least: int) -> tok.ReducedTokenizer:
    counts: dict[int, int] = {}
    for row in tok.encode_batch(tok.normalised(ORIGINAL), TEXTS, 1000):
        for i in row:
            counts[i] = counts.get(i, 0) + 1
    return tok.reduce(ORIGINAL, lambda _token, i: counts.get(i, 0) >= least, pad_row=0)


def test_a_reduced_tokenizer_spells_kept_words_as_before_with_dense_ids() -> None:
    small = reduced(1)
    before, after = Tokenizer.from_str(ORIGINAL), Tokenizer.from_str(small.json_text)
    assert sorted(after.get_vocab().values()) == list(range(len(small.rows)))
    for text in TEXTS:
        old, new = before.encode(text, add_special_tokens=False), after.encode(text, add_special_tokens=False)
        assert new.tokens == old.tokens
        assert [small.rows[i] for i in new.ids] == old.ids


def test_dropping_rare_tokens_leaves_every_text_encodable_in_pieces() -> None:
    small = Tokenizer.from_str(reduced(30).json_text)
    assert small.get_vocab_size() < Tokenizer.from_str(ORIGINAL).get_vocab_size()
    for text in [*TEXTS, "Unseen wörds — 日本語 🚀 and \x00 bytes"]:
        ids = small.encode(text, add_special_tokens=False).ids
        assert ids
        assert small.decode(ids).strip() == tok.normalised(ORIGINAL).normalizer.normalize_str(text).strip()


def test_case_position_and_punctuation_do_not_change_a_words_id() -> None:
    tokenizer = Tokenizer.from_str(ORIGINAL)
    word = TEXTS[0].split()[0]
    spellings = [word, word.upper(), f" {word}", f"({word})", f"{word}!", f'"{word}"']
    assert len({tuple(tokenizer.encode(s, add_special_tokens=False).ids) for s in spellings}) == 1


def test_padding_and_punctuation_are_never_terms() -> None:
    tokenizer = Tokenizer.from_str(ORIGINAL)
    mask = tok.term_mask(tokenizer)
    vocabulary = tokenizer.get_vocab()
    assert not mask[vocabulary[tok.PAD_TOKEN]]
    assert not mask[vocabulary["."]] and not mask[vocabulary["Ġ"]]
    assert mask[vocabulary["a"]] and mask[vocabulary["7"]]


def test_no_text_encodes_to_the_padding_token() -> None:
    tokenizer = Tokenizer.from_str(ORIGINAL)
    assert json.loads(ORIGINAL)["model"]["vocab"][tok.PAD_TOKEN] == 0
    for text in (tok.PAD_TOKEN, f"x {tok.PAD_TOKEN} y"):
        assert 0 not in tokenizer.encode(text, add_special_tokens=False).ids
