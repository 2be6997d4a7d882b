"""Folders of sentence-transformers' SparseEncoder: naver/splade-v3, OpenSearch's since v2, and whoever trained with it.

`modules.json` names a masked language model and SpladePooling, or a Router with those for documents and
SparseStaticEmbedding for queries.  Where SparseStaticEmbedding follows the model's pooling, in a Router behind it
(naver/splade-v3-lexical), it multiplies: a query has its own tokens alone.  What its pooling calls `relu` is
log1p_relu here, and its `log1p_relu`, which takes a second logarithm, log1p_log1p_relu.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from safetensors.torch import load_file

from ..input_recipe import OWN_TERMS, TABLE_TERMS, with_terms, with_words
from ..published import Published, Scores
from .folder import Folder, Unfit, checked, own_tokens, token_table

ACTIVATIONS = {"relu": "log1p_relu", "log1p_relu": "log1p_log1p_relu"}
MODELS = ("Transformer", "MLMTransformer")


@dataclass(frozen=True)
class Module:
    kind: str
    folder: Folder


def fits(folder: Folder) -> bool:
    return any(m.kind in ("SpladePooling", "Router", "SparseStaticEmbedding") for m in modules(folder))


def modules(folder: Folder) -> list[Module]:
    return [
        Module(str(m["type"]).rsplit(".", 1)[-1], Folder(folder.path / str(m.get("path", ""))))
        for m in folder.json("modules.json") or []
    ]


def routes(folder: Folder) -> dict[str, list[Module]]:
    """The modules of each role."""
    before = modules(folder)
    if not before or before[-1].kind != "Router":
        return {"document": before, "query": before}
    router = before.pop()
    config = router.folder.json("router_config.json")
    types, structure = config["types"], config["structure"]
    missing = {"document", "query"} - set(structure)
    if missing:
        raise Unfit(f"its Router has no route for {' and '.join(sorted(missing))}")
    return {
        role: before
        + [Module(str(types[n]).rsplit(".", 1)[-1], Folder(router.folder.path / n)) for n in structure[role]]
        for role in ("document", "query")
    }


def prompts(folder: Folder) -> dict[str, str]:
    """The words before a text of each role, as encode_document and encode_query choose them."""
    config = folder.json("config_sentence_transformers.json")
    known = {name: words or "" for name, words in (config.get("prompts") or {}).items()}
    default = known.get(config.get("default_prompt_name") or "", "")
    return {
        "document": next((known[n] for n in ("document", "passage", "corpus") if n in known), default),
        "query": known.get("query", default),
    }


def read(folder: Folder) -> Published:
    by_role = routes(folder)
    document, query = by_role["document"], by_role["query"]
    kinds = [m.kind for m in document]
    if len(kinds) != 2 or kinds[0] not in MODELS or kinds[1] != "SpladePooling":
        raise Unfit(f"documents go through {' → '.join(kinds)}; a masked language model and SpladePooling can be read")
    source, settings = document[0].folder, document[0].folder.json("sentence_bert_config.json")
    if settings.get("transformer_task", "fill-mask" if kinds[0] == "MLMTransformer" else None) != "fill-mask":
        raise Unfit("its Transformer is no masked language model (transformer_task is not fill-mask)")
    pooling = document[1].folder.json("config.json")
    activation = ACTIVATIONS.get(str(pooling.get("activation_function", "relu")))
    if activation is None or pooling.get("pooling_strategy", "max") not in ("max", "sum"):
        raise Unfit(f"its SpladePooling has {pooling}")
    model = source.masked_model()
    tokenizer = source.tokenizer(lowercase=bool(settings.get("do_lower_case")))
    limit = own_tokens(tokenizer, model.config, int(settings.get("max_seq_length") or tokenizer.longest))
    limits = {}
    for role in ("document", "query"):
        own = settings.get(f"{role}_length")
        limits[role] = limit if own is None else own_tokens(tokenizer, model.config, int(own))
    words = prompts(folder)
    around = {role: with_words(tokenizer.around, prefix=words[role]) for role in ("document", "query")}
    table = None
    if query != document:
        own = query[:-1] == document
        if not (own or len(query) == 1) or query[-1].kind != "SparseStaticEmbedding":
            raise Unfit(f"queries go through {' → '.join(m.kind for m in query)}, a second model of their own")
        static = query[-1].folder
        asked = static.tokenizer()
        if asked.plain.to_str() != tokenizer.plain.to_str():
            raise Unfit("queries and documents have different tokenizers")
        named = static.json("config.json").get("path")
        vocabulary = int(model.config.vocab_size)
        if named:
            table = token_table(static.json(str(named)) or folder.json(str(named)), tokenizer.plain, vocabulary)
        else:
            file = static.path / "model.safetensors"
            stored = load_file(file) if file.exists() else torch.load(static.path / "pytorch_model.bin")
            table = checked(stored["weight"])
        around["query"] = with_terms(around["query"], OWN_TERMS if own else TABLE_TERMS)
        if not own:
            limits["query"] = asked.longest
    return Published(
        "sparse-encoder",
        model,
        tokenizer.plain,
        around,
        limits,
        Scores(activation, str(pooling.get("pooling_strategy", "max"))),
        table,
    )
