"""A published checkpoint's folder: its files, and the parts of it that transformers loads."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, normalizers

from ..input_recipe import RoleInput, special_tokens, without_special_tokens
from ..published import positions_of

LONGEST = 8192
"""Most tokens of a text, whatever a tokenizer says: some name no limit."""


class Unfit(ValueError):
    """A folder of a family with something in it that cannot be converted."""


@dataclass(frozen=True)
class Folder:
    """A directory of files as their authors publish them."""

    path: Path

    def has(self, name: str) -> bool:
        return (self.path / name).is_file()

    def json(self, name: str) -> Any:
        """A file's content; an empty object if it is not there."""
        if not self.has(name):
            return {}
        return json.loads((self.path / name).read_text(encoding="utf-8"))

    @property
    def architectures(self) -> list[str]:
        return list(self.json("config.json").get("architectures") or [])

    @property
    def card(self) -> str:
        """The model card; nothing where there is none."""
        return (self.path / "README.md").read_text(encoding="utf-8") if self.has("README.md") else ""

    @property
    def tags(self) -> set[str]:
        """Tags in the front matter of the model card."""
        import yaml

        parts = self.card.split("---\n", 2)
        front = yaml.safe_load(parts[1]) if len(parts) == 3 and not parts[0].strip() else None
        return {str(tag).lower() for tag in (front or {}).get("tags") or []}

    def described(self) -> str:
        """What was found, for people."""
        if not self.path.is_dir():
            return "no such directory"
        names = sorted(entry.name + ("/" if entry.is_dir() else "") for entry in self.path.iterdir())
        kinds = f"; config.json names {', '.join(self.architectures)}" if self.architectures else ""
        return (", ".join(names[:30]) or "nothing") + kinds

    def masked_model(self) -> Any:
        from transformers import AutoModelForMaskedLM

        return AutoModelForMaskedLM.from_pretrained(self.path, dtype=torch.float32, local_files_only=True).eval()

    def special_ids(self, *names: str) -> list[int]:
        """Ids of the special tokens of these names, of those that its tokenizer has."""
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
        found = (loaded.convert_tokens_to_ids(str(t)) for n in names if (t := loaded.special_tokens_map.get(n)))
        return sorted({int(number) for number in found if number is not None})

    def tokenizer(self, lowercase: bool = False) -> ReadTokenizer:
        from transformers import AutoTokenizer

        loaded = AutoTokenizer.from_pretrained(self.path, local_files_only=True)
        if not loaded.is_fast:
            raise Unfit(f"the tokenizer of {self.path} has no tokenizer.json and none can be made")
        whole = Tokenizer.from_str(loaded.backend_tokenizer.to_str())
        plain = without_special_tokens(whole)
        if lowercase:
            own = [] if plain.normalizer is None else [plain.normalizer]
            plain.normalizer = normalizers.Sequence([normalizers.Lowercase(), *own])
        special = sorted(set(loaded.convert_tokens_to_ids(list(loaded.special_tokens_map.values()))))
        return ReadTokenizer(plain, special_tokens(whole), int(min(loaded.model_max_length, LONGEST)), tuple(special))


@dataclass(frozen=True)
class ReadTokenizer:
    """A tokenizer that gives a text's own tokens, and what its authors' code does beside."""

    plain: Tokenizer
    around: RoleInput
    longest: int
    """Most tokens of a text, special ones included."""
    special: tuple[int, ...]
    """Ids of its named special tokens."""


def own_tokens(tokenizer: ReadTokenizer, config: Any, most: int = LONGEST) -> int:
    """Most tokens of a text without the special ones around it, for a model of such a configuration."""
    around = tokenizer.around
    return min(tokenizer.longest, positions_of(config), most) - len(around.begin) - len(around.end)


def token_table(weights: dict[str, float], tokenizer: Tokenizer, vocabulary: int) -> torch.Tensor:
    """Weights [V] by id of weights by token, as in idf.json.  Tokens that the vocabulary lacks weigh nothing."""
    table = torch.zeros(vocabulary)
    for token, weight in weights.items():
        number = tokenizer.token_to_id(token)
        if number is not None and number < vocabulary:
            table[number] = weight
    return checked(table)


def checked(table: torch.Tensor) -> torch.Tensor:
    """The table.  Raises Unfit for weights below 0, which no term can have."""
    if not bool(torch.isfinite(table).all()) or float(table.min()) < 0:
        raise Unfit("the weights of query tokens must be finite and at least 0")
    return table.detach().float()
