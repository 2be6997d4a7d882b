"""BGE-M3 (arXiv 2402.03216): an XLM-RoBERTa whose sparse head scores each token of the text itself."""

from __future__ import annotations

import torch

from ..published import Published, Scores
from .folder import Folder, own_tokens

HEAD = "sparse_linear.pt"
NO_TERMS = ("cls_token", "eos_token", "pad_token", "unk_token")


def fits(folder: Folder) -> bool:
    return folder.has(HEAD) and folder.json("config.json").get("model_type") == "xlm-roberta"


def read(folder: Folder) -> Published:
    from transformers import AutoModel

    model = AutoModel.from_pretrained(folder.path, dtype=torch.float32, local_files_only=True).eval()
    tokenizer = folder.tokenizer()
    never = folder.special_ids(*NO_TERMS)
    head = torch.load(folder.path / HEAD, map_location="cpu", weights_only=True)
    most = own_tokens(tokenizer, model.config)
    return Published(
        "bge-m3",
        model,
        tokenizer.plain,
        {"document": tokenizer.around, "query": tokenizer.around},
        {"document": most, "query": most},
        Scores(activation="relu", never_terms=tuple(never)),
        head=(head["weight"].float(), head["bias"].float()),
    )
