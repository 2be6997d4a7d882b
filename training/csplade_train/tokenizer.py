"""Tokenizers: lower-cased, word-aligned byte-level BPE with dense ids.

A causal LM's tokenizer gives "Cat", " Cat", "cat" and " cat" four ids, which is
poison for lexical matching.  Here the text is NFKC-normalised and lower-cased
punctuation other than . , ' becomes a space, so every word starts with a space
and has one spelling.  Half of the
vocabulary then cannot occur any more; `reduce` drops it and renumbers the rest,
which also halves the cost of the vocabulary projection.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tokenizers import Tokenizer, models, trainers
from tokenizers.pre_tokenizers import ByteLevel

SEPARATORS = '[ \\t\\r\\n"()\\[\\]{}<>/\\\\_=*~`|@#$%^&+:;!?\u2010-\u2015\u2018\u201c\u201d\u2022-]+'
NORMALIZER = {
    "type": "Sequence",
    "normalizers": [
        {"type": "NFKC"},
        {"type": "Lowercase"},
        # Lower-casing treats the Greek final sigma differently in different languages' libraries.
        {"type": "Replace", "pattern": {"String": "\u03c2"}, "content": "\u03c3"},
        {"type": "Replace", "pattern": {"String": "\u2019"}, "content": "'"},
        {"type": "Prepend", "prepend": " "},
        # Brackets, dashes, quotes, symbols and white space part words; one space stands for a run of them.
        {"type": "Replace", "pattern": {"Regex": SEPARATORS}, "content": " "},
        {"type": "Replace", "pattern": {"Regex": "\\.(?=\\p{L})"}, "content": ". "},
        {"type": "Replace", "pattern": {"Regex": ",(?=\\p{L})"}, "content": ", "},
        {"type": "Strip", "strip_left": False, "strip_right": True},
    ],
}
PRE_TOKENIZER = {
    "type": "Sequence",
    "pretokenizers": [
        {"type": "Digits", "individual_digits": True},
        {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True},
    ],
}
DECODER = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
PAD_TOKEN = "<|pad|>"
"""Entry 0 of every vocabulary made here: it pads, no text produces it, and it is never a term."""


@dataclass(frozen=True)
class ReducedTokenizer:
    """A tokenizer with dense ids, and for each id the row of the original vocabulary it came from."""

    json_text: str
    rows: list[int]


def _document(vocabulary: dict[str, int], merges: list[list[str]]) -> str:
    return json.dumps(
        {
            "version": "1.0",
            "truncation": None,
            "padding": None,
            "added_tokens": [],
            "normalizer": NORMALIZER,
            "pre_tokenizer": PRE_TOKENIZER,
            "post_processor": None,
            "decoder": DECODER,
            "model": {
                "type": "BPE",
                "dropout": None,
                "unk_token": None,
                "continuing_subword_prefix": None,
                "end_of_word_suffix": None,
                "fuse_unk": False,
                "byte_fallback": False,
                "ignore_merges": False,
                "vocab": vocabulary,
                "merges": merges,
            },
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def _pairs(merges: list[str | list[str]]) -> list[tuple[str, str]]:
    """Merges as pairs: tokenizer files write them as "a b" or ["a", "b"]."""
    split = [merge.split(" ") if isinstance(merge, str) else merge for merge in merges]
    return [(left, right) for left, right in split]


def normalised(original_json: str) -> Tokenizer:
    """The original vocabulary behind our normalizer, used to count which tokens occur."""
    original = json.loads(original_json)["model"]
    return Tokenizer.from_str(_document(original["vocab"], [list(p) for p in _pairs(original["merges"])]))


def reduce(original_json: str, keep: Callable[[str, int], bool], pad_row: int) -> ReducedTokenizer:
    """Keep the tokens for which keep(token, id) holds, what their merges need, and all bytes."""
    original = json.loads(original_json)["model"]
    vocabulary: dict[str, int] = original["vocab"]
    pairs = _pairs(original["merges"])
    made_by: dict[str, tuple[str, str]] = {}
    for left, right in pairs:
        made_by.setdefault(left + right, (left, right))
    bytes_alphabet = set(ByteLevel.alphabet())
    kept: set[str] = set()
    stack = [t for t, i in vocabulary.items() if t in bytes_alphabet or (t in made_by and keep(t, i))]
    while stack:
        token = stack.pop()
        if token in kept:
            continue
        kept.add(token)
        stack.extend(made_by.get(token, ()))
    ordered = sorted(kept, key=lambda t: vocabulary[t])
    ids = {PAD_TOKEN: 0} | {t: i + 1 for i, t in enumerate(ordered)}
    merges = [[a, b] for a, b in pairs if a in ids and b in ids and a + b in ids]
    return ReducedTokenizer(_document(ids, merges), [pad_row] + [vocabulary[t] for t in ordered])


def train(texts: Iterable[str], size: int) -> str:
    """A fresh byte-level BPE of `size` entries behind the same normalizer (for tiny models)."""
    empty = Tokenizer.from_str(_document({}, []))
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = empty.normalizer
    tokenizer.pre_tokenizer = empty.pre_tokenizer
    trainer = trainers.BpeTrainer(
        vocab_size=size, special_tokens=[PAD_TOKEN], initial_alphabet=ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return _document(model["vocab"], [list(p) for p in _pairs(model["merges"])])


def token_bytes(token: str) -> bytes:
    """The bytes that a byte-level token stands for."""
    table = _byte_table()
    return bytes(table[c] for c in token if c in table)


def _byte_table() -> dict[str, int]:
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    table = {chr(b): b for b in printable}
    spare = (b for b in range(256) if b not in set(printable))
    return table | {chr(256 + n): b for n, b in enumerate(spare)}


def term_mask(tokenizer: Tokenizer) -> list[bool]:
    """True for ids that may be terms: those with a letter, a digit or a byte beyond ASCII."""
    vocabulary = tokenizer.get_vocab()
    mask = [False] * (max(vocabulary.values()) + 1)
    for token, i in vocabulary.items():
        if token == PAD_TOKEN:
            continue
        content = token_bytes(token)
        mask[i] = any(b >= 0x80 or chr(b).isalnum() for b in content)
    return mask


def encode_batch(tokenizer: Tokenizer, texts: list[str], limit: int) -> list[list[int]]:
    """Token ids of each text, cut to `limit`; no special tokens are added."""
    return [e.ids[:limit] for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
