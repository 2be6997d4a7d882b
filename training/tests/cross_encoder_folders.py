"""Small random cross-encoders in the layout in which they are published.

python tests/cross_encoder_folders.py OUT makes the one that tests in Node score with.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from published_folders import ROBERTA, SMALL, SPECIAL, bytes_in_pairs, randomized, words_in_pieces
from tokenizers import processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DistilBertConfig,
    DistilBertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
)

from csplade_train import cli


def classifier(kind: str, directory: Path, labels: int = 1) -> Path:
    """A sequence classifier and its tokenizer."""
    model: Any
    if kind in ("bert", "distilbert"):
        tokenizer = words_in_pieces()
        common = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": 0, "num_labels": labels}
        if kind == "bert":
            model = BertForSequenceClassification(BertConfig(**common, **SMALL))
        else:
            sizes = {"dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 48}
            model = DistilBertForSequenceClassification(DistilBertConfig(**common, **sizes))
            tokenizer.model_input_names = ["input_ids", "attention_mask"]
    elif kind == "roberta":
        tokenizer = bytes_in_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ROBERTA, "<s>", "</s>")
        made = tokenizer.backend_tokenizer
        ends = [(t, made.token_to_id(t)) for t in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(
            single="<s> $A </s>", pair="<s> $A </s> </s> $B </s>", special_tokens=ends
        )
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        model = RobertaForSequenceClassification(
            RobertaConfig(
                vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, type_vocab_size=1,
                num_labels=labels, **SMALL,
            )
        )  # fmt: skip
    else:
        tokenizer = bytes_in_pairs(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], SPECIAL, "[CLS]", "[SEP]")
        tokenizer.model_input_names = ["input_ids", "attention_mask"]
        model = ModernBertForSequenceClassification(
            ModernBertConfig(
                **SMALL | {"num_hidden_layers": 4}, vocab_size=len(tokenizer), max_position_embeddings=64,
                local_attention=8, global_attn_every_n_layers=3, pad_token_id=0, num_labels=labels,
                classifier_pooling=kind.removeprefix("modernbert-"),
            )
        )  # fmt: skip
    randomized(model).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        words = ["convert", str(classifier("bert", Path(made))), "--out", sys.argv[1], "--precision", "fp32"]
        sys.exit(cli.main([*words, "--name", "tiny-cross-encoder", "--license", "Apache-2.0"]))
