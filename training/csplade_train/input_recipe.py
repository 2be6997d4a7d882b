"""What is around a text that a model reads, as the manifest says it (`input`), and tokenizers without it."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace

from tokenizers import Tokenizer


@dataclass(frozen=True)
class RoleInput:
    """A role's words and special tokens.

    prefix: written before a text and tokenized with it; suffix: written behind it and tokenized apart;
    begin, end: special tokens before and behind all that.
    """

    prefix: str = ""
    suffix: str = ""
    begin: tuple[str, ...] = ()
    end: tuple[str, ...] = ()


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


def with_words(around: RoleInput, prefix: str = "", suffix: str = "") -> RoleInput:
    """The same special tokens, and words."""
    return replace(around, prefix=prefix, suffix=suffix)
