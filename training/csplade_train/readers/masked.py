"""Plain folders of a masked language model: OpenSearch's neural sparse encoders, SPLADE from its authors' own code.

opensearch  special tokens are no terms; with idf.json a query is its tokens' weights in it
splade      every token may be a term (naver/splade)

Nothing in the files tells such a model from any other BERT, except idf.json and the tags of the model card.
"""

from __future__ import annotations

from ..published import Published, Scores
from .folder import Folder, own_tokens, token_table

OPENSEARCH = {"opensearch", "neural-sparse"}
SPLADE = {"splade", "sparse-encoder", "learned sparse", "learned-sparse"}
LIMIT = {"opensearch": 512, "splade": 256}
"""Tokens of a text in the authors' own code."""


def is_masked(folder: Folder) -> bool:
    return any(name.endswith("ForMaskedLM") for name in folder.architectures) and not folder.has("modules.json")


def fits_opensearch(folder: Folder) -> bool:
    return is_masked(folder) and (folder.has("idf.json") or bool(folder.tags & OPENSEARCH))


def fits_splade(folder: Folder) -> bool:
    return is_masked(folder) and not fits_opensearch(folder) and bool(folder.tags & SPLADE)


def read_opensearch(folder: Folder) -> Published:
    return read(folder, "opensearch")


def read_splade(folder: Folder) -> Published:
    return read(folder, "splade")


def read(folder: Folder, family: str) -> Published:
    model, tokenizer = folder.masked_model(), folder.tokenizer()
    most = own_tokens(tokenizer, model.config, LIMIT[family])
    table = None
    if folder.has("idf.json"):
        table = token_table(folder.json("idf.json"), tokenizer.plain, int(model.config.vocab_size))
    if family == "opensearch" and table is not None:
        table[list(tokenizer.special)] = 0.0
    return Published(
        family,
        model,
        tokenizer.plain,
        {"document": tokenizer.around, "query": tokenizer.around},
        {"document": most, "query": most},
        Scores(never_terms=tokenizer.special if family == "opensearch" else ()),
        table,
    )
