"""What is around a text that a model reads, as the manifest says it (`input`), and tokenizers without it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from tokenizers import Tokenizer

ANY_TERMS = "any"
OWN_TERMS = "own"
TABLE_TERMS = "table"


@dataclass(frozen=True)
class RoleInput:
    """A role's words and special tokens.

    prefix: written before a text and tokenized with it; suffix: written behind it and tokenized apart;
    begin, end: special tokens before and behind all that; terms: which tokens may be terms, any of the vocabulary
    or, of a question, its "own": those that the model reads, weighed by factors in `query_weights.json`; "table": no
    model reads it, its terms are those of that file.
    """

    prefix: str = ""
    suffix: str = ""
    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()
    terms: str = ANY_TERMS

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> RoleInput:
        """As a manifest has it."""
        lists = {name: tuple(told.get(name, ())) for name in ("begin", "end")}
        return cls(told.get("prefix", ""), told.get("suffix", ""), terms=told.get("terms", ANY_TERMS), **lists)

    def told(self) -> dict[str, object]:
        """As manifests have it: what is as it always was goes without saying."""
        return {name: value for name, value in asdict(self).items() if (name, value) != ("terms", ANY_TERMS)}

    def space(self) -> dict[str, object]:
        """As fingerprints have it: a table is one of a checkpoint's tensors, and counts as such."""
        return replace(self, terms=ANY_TERMS).told() if self.terms == TABLE_TERMS else self.told()


def without_special_tokens(tokenizer: Tokenizer) -> Tokenizer:
    """The tokenizer without post-processor, truncation and padding: it gives a text's own tokens."""
    document = json.loads(tokenizer.to_str())
    document |= {"truncation": None, "padding": None, "post_processor": None}
    return Tokenizer.from_str(json.dumps(document, ensure_ascii=False))


def special_tokens(tokenizer: Tokenizer) -> RoleInput:
    """What the tokenizer's post-processor puts around every text.  Raises ValueError if that depends on the text."""
    found = set()
    plain = without_special_tokens(tokenizer)
    whole = Tokenizer.from_str(tokenizer.to_str())
    whole.no_truncation()
    whole.no_padding()
    for text in ("a", "of the b 7", "\u00e9, x"):
        own, every = plain.encode(text).ids, whole.encode(text).ids
        starts = [n for n in range(len(every) - len(own) + 1) if every[n : n + len(own)] == own]
        if not own or not starts:
            raise ValueError("the tokenizer changes a text's own tokens when it adds special ones")
        names = [str(whole.id_to_token(i)) for i in every]
        found.add((tuple(names[: starts[0]]), tuple(names[starts[0] + len(own) :])))
    if len(found) != 1:
        raise ValueError(f"the tokenizer puts different tokens around different texts: {sorted(found)}")
    begin, end = found.pop()
    return RoleInput(begin=begin, end=end)


def with_terms(around: RoleInput, terms: str) -> RoleInput:
    """The same words and tokens around a question that has other terms than any."""
    return replace(around, terms=terms)


def with_words(around: RoleInput, prefix: str = "", suffix: str = "") -> RoleInput:
    """The same special tokens, and words."""
    return replace(around, prefix=prefix, suffix=suffix)


def tokens_read(tokenizer: Tokenizer, texts: list[str], limit: int, around: RoleInput) -> list[list[int]]:
    """Token ids that the model reads of each text, as the encoder in Node hands them over; none of a blank text.

    limit: of tokens of prefix and text; what is cut off is the text.
    """

    def ids_of(tokens: tuple[str, ...]) -> list[int]:
        found = [tokenizer.token_to_id(token) for token in tokens]
        return [number for number in found if number is not None]

    begin = ids_of(around.begin)
    end = [*tokenizer.encode(around.suffix, add_special_tokens=False).ids, *ids_of(around.end)]
    encoded = tokenizer.encode_batch([around.prefix + text for text in texts], add_special_tokens=False)
    return [
        [*begin, *each.ids[:limit], *end] if text.strip() else [] for text, each in zip(texts, encoded, strict=True)
    ]
