"""SPLADE over a language model, as NAVER publishes SPLADE-Code (arXiv 2603.22008): Qwen3 that sees both directions.

    w_t = log(1 + ReLU(max over positions of logit_t)), the same for documents and queries, without words around them

Its folders have one of two layouts:
  sentence-transformers'  modules.json (Transformer, SpladePooling) and the model's own config.json, `is_causal` false
  its authors' first      config.json of `model_type` splade, which says `bidirectional` and names the base model, whose
                          sizes and tokenizer are meant
and in either, where it has no weights, a LoRA adapter (lora/) of the base that the adapter names.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import foreign
from ..trunk_shape import ARCHITECTURES
from . import sparse_encoder
from .folder import Folder, Unfit

NAME = "splade-code"
OWN_LAYOUT = "splade"
"""`model_type` in the authors' first layout."""
LONGEST = 1024
"""Tokens of a text in the authors' own code."""
TOP_K = {"document": 2048, "query": 1024}
"""More terms than a text of ordinary length has; a search takes no more than 1,024 unless its cluster is told so."""


@dataclass(frozen=True)
class Parts:
    """What is converted."""

    model: Any
    tokenizer_file: Path
    family: foreign.Family


def fits(folder: Folder) -> bool:
    config = folder.json("config.json")
    if config.get("model_type") == OWN_LAYOUT:
        return "model_name_or_path" in config
    pooled = [m.kind for m in sparse_encoder.modules(folder)][-1:] == ["SpladePooling"]
    return pooled and config.get("model_type") in ARCHITECTURES


def read(folder: Folder, base: Path | None, called: str | None) -> Parts:
    """Parts of a folder; base: of its base model, where it needs one; called: the base's name, if its folder lacks it.

    Raises Unfit for what cannot be converted, ValueError for a base that is missing or another one.
    """
    config = folder.json("config.json")
    demand_plain(folder, config)
    own_layout = config.get("model_type") == OWN_LAYOUT
    weighty = any(folder.path.glob("model*.safetensors")) or any(folder.path.glob("pytorch_model*.bin"))
    adapter = next((d for d in (folder.path / "lora", folder.path) if (d / "adapter_config.json").is_file()), None)
    if not weighty and adapter is None:
        raise Unfit(f"it has neither weights nor an adapter (it has {folder.described()})")
    tokenizer = folder.path / "tokenizer.json"
    whole = weighty and tokenizer.exists() and not own_layout
    home = folder.path if whole else base
    if home is None:
        named = config.get("model_name_or_path") or "a base model"
        raise ValueError(f"{folder.path} is made of {named} and lacks parts of it: give it, --model BASE")
    if not weighty and adapter is not None:
        foreign.demand_base(home, adapter, called)
        model = foreign.load(home, adapter)
    else:
        if own_layout:
            foreign.demand_called(home, str(config["model_name_or_path"]), f"the checkpoint {folder.path}", called)
        model = load(folder, home if own_layout else folder.path)
    sees_ahead = config.get("bidirectional", True) if own_layout else not config.get("is_causal", True)
    longest = most_tokens(folder, model.config)
    family = foreign.Family(
        NAME, not sees_ahead, 0.0, {"document": longest, "query": longest}, TOP_K, prefix=sparse_encoder.prompts(folder)
    )
    return Parts(model, tokenizer if tokenizer.exists() else home / "tokenizer.json", family)


def load(folder: Folder, home: Path) -> Any:
    """The model whose weights a folder has; home: where the configuration is that is meant."""
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(home, local_files_only=True)
    return AutoModelForCausalLM.from_pretrained(folder.path, config=config, dtype="auto", local_files_only=True).eval()


def demand_plain(folder: Folder, config: dict[str, Any]) -> None:
    """Raises Unfit for what is not computed here."""
    if config.get("lexical"):
        raise Unfit("its config.json leaves texts their own terms alone (lexical)")
    if config.get("model_type") == OWN_LAYOUT and config.get("n_layers"):
        raise Unfit(f"its config.json keeps {config['n_layers']} layers (n_layers)")
    for module in sparse_encoder.modules(folder):
        if module.kind == "SpladePooling":
            pooling = module.folder.json("config.json")
            if pooling.get("pooling_strategy", "max") != "max" or pooling.get("activation_function", "relu") != "relu":
                raise Unfit(f"its SpladePooling has {pooling}")
        elif module.kind not in sparse_encoder.MODELS:
            raise Unfit(f"its texts go through {module.kind}")


def most_tokens(folder: Folder, config: Any) -> int:
    """Most tokens of a text, of those that its files name."""
    told = (
        folder.json("sentence_bert_config.json").get("max_seq_length"),
        folder.json("tokenizer_config.json").get("model_max_length"),
        getattr(config, "max_position_embeddings", None),
    )
    return int(min(LONGEST, *(limit for limit in told if limit)))
