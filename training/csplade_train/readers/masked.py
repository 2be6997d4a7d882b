"""Plain folders of a masked language model: OpenSearch's neural sparse encoders, SPLADE from its authors' own code.

opensearch  special tokens are no terms; with idf.json a query is its tokens' weights in it
splade      every token may be a term (naver/splade)
splade-lexical  the same for documents; a question has terms for its own tokens alone, special ones left out
splade-doc  the same for documents; a question is its own tokens, each of weight 1, and no model reads it

Nothing in the files tells such a model from any other BERT, except idf.json, what SPLADE's training wrote of itself
(training_args.json, model_args.json), and the model card.
"""

from __future__ import annotations

import torch

from ..input_recipe import OWN_TERMS, TABLE_TERMS, with_terms
from ..published import Published, Scores
from .folder import Folder, Unfit, own_tokens, token_table

OPENSEARCH = {"opensearch", "neural-sparse"}
SPLADE = {"splade", "sparse-encoder", "learned sparse", "learned-sparse"}
LEXICAL = ("splade-lexical", "splade-v3-lexical", "no expansion on the query side")
"""What the model card of a SPLADE calls one that adds nothing to questions."""
DOCUMENTS = ("splade-doc", "splade-v3-doc", "no inference on query side")
"""What the model card calls one that reads documents alone."""
NOT_OWN = {
    "splade-lexical": ("cls_token", "sep_token", "pad_token", "mask_token"),
    "splade-doc": ("cls_token", "sep_token", "pad_token"),
}
"""Tokens that SPLADE does not count among those of a question."""
LIMIT = {"opensearch": 512, "splade": 256, "splade-lexical": 256, "splade-doc": 256}
"""Tokens of a text in the authors' own code."""


def is_masked(folder: Folder) -> bool:
    return any(name.endswith("ForMaskedLM") for name in folder.architectures) and not folder.has("modules.json")


def fits_opensearch(folder: Folder) -> bool:
    return is_masked(folder) and (folder.has("idf.json") or bool(folder.tags & OPENSEARCH))


def fits_any_splade(folder: Folder) -> bool:
    return is_masked(folder) and not fits_opensearch(folder) and bool(folder.tags & SPLADE)


def is_lexical(folder: Folder) -> bool:
    """Its training says which side is left its own terms; where nothing is written of it, its card does.

    Raises Unfit for documents with their own terms alone.
    """
    told = str(folder.json("training_args.json").get("lexical_type", ""))
    if told in ("document", "both"):
        raise Unfit("its training_args.json says that documents have their own terms alone (lexical_type)")
    return told == "query" if told else any(sign in folder.card.lower() for sign in LEXICAL)


def is_of_documents(folder: Folder) -> bool:
    """Its training says whether it reads questions; where nothing is written of it, its card does."""
    told = folder.json("model_args.json").get("splade_doc")
    return any(sign in folder.card.lower() for sign in DOCUMENTS) if told is None else bool(told)


def fits_splade(folder: Folder) -> bool:
    return fits_any_splade(folder) and not is_lexical(folder) and not is_of_documents(folder)


def fits_documents(folder: Folder) -> bool:
    return fits_any_splade(folder) and not is_lexical(folder) and is_of_documents(folder)


def fits_lexical(folder: Folder) -> bool:
    return fits_any_splade(folder) and is_lexical(folder)


def read_opensearch(folder: Folder) -> Published:
    return read(folder, "opensearch")


def read_splade(folder: Folder) -> Published:
    return read(folder, "splade")


def read_documents(folder: Folder) -> Published:
    return read(folder, "splade-doc")


def read_lexical(folder: Folder) -> Published:
    return read(folder, "splade-lexical")


def read(folder: Folder, family: str) -> Published:
    model, tokenizer = folder.masked_model(), folder.tokenizer()
    most = own_tokens(tokenizer, model.config, LIMIT[family])
    table = None
    if folder.has("idf.json"):
        table = token_table(folder.json("idf.json"), tokenizer.plain, int(model.config.vocab_size))
    if family == "opensearch" and table is not None:
        table[list(tokenizer.special)] = 0.0
    asked = tokenizer.around
    if family in NOT_OWN:
        table = torch.ones(int(model.config.vocab_size))
        table[folder.special_ids(*NOT_OWN[family])] = 0.0
    if table is not None:
        asked = with_terms(asked, OWN_TERMS if family == "splade-lexical" else TABLE_TERMS)
    return Published(
        family,
        model,
        tokenizer.plain,
        {"document": tokenizer.around, "query": asked},
        {"document": most, "query": most},
        Scores(never_terms=tokenizer.special if family == "opensearch" else ()),
        table,
    )
