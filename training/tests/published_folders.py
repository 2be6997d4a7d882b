"""Small random sparse encoders in the layout in which each family is published, made by transformers itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import (
    BertConfig,
    BertForMaskedLM,
    DistilBertConfig,
    DistilBertForMaskedLM,
    ModernBertConfig,
    ModernBertForMaskedLM,
    PreTrainedTokenizerFast,
    RobertaConfig,
    RobertaForMaskedLM,
    XLMRobertaConfig,
    XLMRobertaModel,
)
from world import pairs

WORLD = [p.passage for p in pairs(60)]
TEXTS = [
    "baba keli",
    " ".join(WORLD[0].split()[:12]) + "?",
    "Zu-Zu, LIMO; kefer's (don't) na\u00efve caf\u00e9",
    "\u4e2d\u6587\u68c0\u7d22 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "emoji \U0001f680\U0001f431 and a flag \U0001f1e8\U0001f1ed",
    "x",
    "numbers 1954, 3.14 and\ttabs\nnewlines",
]
LONG = " ".join(WORLD)
"""A text beyond every limit here."""
LIMIT = 40
SPECIAL = {
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "pad_token": "[PAD]",
    "mask_token": "[MASK]",
}
ROBERTA = {"bos_token": "<s>", "cls_token": "<s>", "pad_token": "<pad>", "eos_token": "</s>", "sep_token": "</s>",
           "unk_token": "<unk>", "mask_token": "<mask>"}  # fmt: skip
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 48}


def words_in_pieces() -> PreTrainedTokenizerFast:
    """BERT's: lower case, word pieces, [CLS] and [SEP]."""
    made = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer(lowercase=True)
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    trainer = trainers.WordPieceTrainer(vocab_size=320, special_tokens=special, show_progress=False)
    made.train_from_iterator([*WORLD, *TEXTS, "query: passage:"], trainer)
    around = [(t, made.token_to_id(t)) for t in ("[CLS]", "[SEP]")]
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=around
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LIMIT, **SPECIAL)


def bytes_in_pairs(special: list[str], named: dict[str, str], first: str, last: str) -> PreTrainedTokenizerFast:
    """A byte-level BPE, as RoBERTa and ModernBERT have."""
    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(
        vocab_size=420, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator([*WORLD, *TEXTS, "query: passage: a query: b"], trainer)
    around = [(t, made.token_to_id(t)) for t in (first, last)]
    made.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}", pair=f"{first} $A {last} $B:1 {last}:1", special_tokens=around
    )
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LIMIT, **named)


def randomized(model: Any, seed: int = 3) -> Any:
    """Weights at which a few tens of terms are active; a seed, so that folders are the same again."""
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim == 1 and "norm" in name.lower() and name.endswith("weight"):
                parameter.normal_(mean=1.0, std=0.1)
            else:
                parameter.normal_(std=0.25 if parameter.ndim > 1 else 0.5)
            if name.endswith(("decoder.bias", "predictions.bias", "vocab_projector.bias", "lm_head.bias")):
                parameter.sub_(1.5)
    return model.eval()


def masked(kind: str, directory: Path) -> Path:
    """A masked language model of a kind and its tokenizer."""
    model: Any
    if kind in ("bert", "distilbert"):
        tokenizer = words_in_pieces()
        common = {"vocab_size": len(tokenizer), "max_position_embeddings": 64, "pad_token_id": tokenizer.pad_token_id}
        if kind == "bert":
            model = BertForMaskedLM(BertConfig(**common, **SMALL))
        else:
            model = DistilBertForMaskedLM(DistilBertConfig(**common, dim=32, n_layers=2, n_heads=4, hidden_dim=48))
    elif kind == "roberta":
        tokenizer = bytes_in_pairs(["<s>", "<pad>", "</s>", "<unk>", "<mask>"], ROBERTA, "<s>", "</s>")
        model = RobertaForMaskedLM(
            RobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **SMALL)
        )
    else:
        tokenizer = bytes_in_pairs(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"], SPECIAL, "[CLS]", "[SEP]")
        # A window shorter than the texts, and rows beyond the tokenizer's, as ModernBERT has.
        model = ModernBertForMaskedLM(
            ModernBertConfig(
                **SMALL | {"num_hidden_layers": 4}, vocab_size=len(tokenizer) + 4, max_position_embeddings=64,
                local_attention=8, global_attn_every_n_layers=3, pad_token_id=0,
            )
        )  # fmt: skip
    randomized(model).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    return directory


def pieces_of_sentences() -> PreTrainedTokenizerFast:
    """A Unigram with a mark for spaces, as XLM-RoBERTa has; Node has NFKC for SentencePiece's compiled table."""
    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    made.decoder = decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=300, special_tokens=["<s>", "<pad>", "</s>", "<unk>"], unk_token="<unk>", show_progress=False
    )
    made.train_from_iterator([*WORLD, *TEXTS], trainer)
    around = [(t, made.token_to_id(t)) for t in ("<s>", "</s>")]
    made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=around)
    return PreTrainedTokenizerFast(tokenizer_object=made, model_max_length=LIMIT, **ROBERTA)


def bge_m3(directory: Path) -> Path:
    """An XLM-RoBERTa with a score for each token in a file of its own."""
    tokenizer = pieces_of_sentences()
    config = XLMRobertaConfig(vocab_size=len(tokenizer), max_position_embeddings=66, pad_token_id=1, **SMALL)
    randomized(XLMRobertaModel(config)).save_pretrained(directory)
    tokenizer.save_pretrained(directory)
    head = randomized(torch.nn.Linear(SMALL["hidden_size"], 1))
    torch.save(head.state_dict(), directory / "sparse_linear.pt")
    return directory


def idf_of(directory: Path) -> dict[str, float]:
    """Weights for the tokens of a folder's tokenizer, as idf.json has them: not for all."""
    tokenizer = Tokenizer.from_file(str(directory / "tokenizer.json"))
    generator = torch.Generator().manual_seed(5)
    weights = torch.rand(tokenizer.get_vocab_size(), generator=generator) * 8
    return {token: round(float(weights[i]), 4) for token, i in tokenizer.get_vocab().items() if i % 7 and i > 4}


def write_card(directory: Path, *tags: str) -> None:
    lines = ["---", "license: apache-2.0", "tags:", *(f"- {t}" for t in tags), "---", "", "# A model", ""]
    (directory / "README.md").write_text("\n".join(lines), encoding="utf-8")


def write_lexical_card(directory: Path) -> None:
    """A card as SPLADE-v3-Lexical has: nothing else in such a folder tells it from another SPLADE."""
    write_card(directory, "splade")
    told = (
        "## SPLADE-v3-Lexical\n\nThe SPLADE-Lexical version (no expansion on the query side - only term weighting).\n"
    )
    with open(directory / "README.md", "a", encoding="utf-8") as card:
        card.write(told)


def write_idf(directory: Path) -> None:
    (directory / "idf.json").write_text(json.dumps(idf_of(directory)), encoding="utf-8")
