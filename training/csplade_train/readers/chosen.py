"""Which reader a folder is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from ..published import Published
from . import bge_m3, masked, sparse_encoder
from .folder import Folder, Unfit


@dataclass(frozen=True)
class Reader:
    """fits: from the files alone; read raises Unfit for a part that cannot be converted."""

    fits: Callable[[Folder], bool]
    read: Callable[[Folder], Published]


READERS = {
    "sparse-encoder": Reader(sparse_encoder.fits, sparse_encoder.read),
    "bge-m3": Reader(bge_m3.fits, bge_m3.read),
    "opensearch": Reader(masked.fits_opensearch, masked.read_opensearch),
    "splade": Reader(masked.fits_splade, masked.read_splade),
    "splade-lexical": Reader(masked.fits_lexical, masked.read_lexical),
    "splade-doc": Reader(masked.fits_documents, masked.read_documents),
}
SPLADE = ("splade", "splade-lexical", "splade-doc")
PLAIN = ("opensearch", *SPLADE)
"""Families whose folders may look like any masked language model: these may be named."""


def read_published(directory: Path, family: str | None = None, activation: str | None = None) -> Published:
    """What a folder holds.

    family: of those in PLAIN, for a masked language model whose files do not tell; activation: where they do not.
    Raises ValueError for a folder that fits no reader, with what was found in it.
    """
    folder = Folder(directory)
    try:
        fitting = [name for name, reader in READERS.items() if reader.fits(folder)]
    except Unfit as unfit:
        raise ValueError(f"{directory}: {unfit}") from unfit
    if family is not None and family not in fitting:
        unsaid = fitting == ["splade"] and family in SPLADE
        if family not in PLAIN or (fitting and not unsaid) or not masked.is_masked(folder):
            told = f"its files are those of {fitting[0]}" if fitting else f"it has {folder.described()}"
            raise ValueError(f"{directory} is not of the family {family}: {told}")
        fitting = [family]
    if not fitting:
        hint = f"; name it with --family {', '.join(PLAIN)}" if masked.is_masked(folder) else ""
        if folder.has("adapter_config.json"):
            base = folder.json("adapter_config.json").get("base_model_name_or_path")
            hint = f"; an adapter of {base} is converted with --model BASE"
        raise ValueError(f"{directory} is no sparse encoder that is known here (it has {folder.described()}){hint}")
    try:
        found = READERS[fitting[0]].read(folder)
    except Unfit as unfit:
        raise ValueError(f"{directory} ({fitting[0]}): {unfit}") from unfit
    if activation is not None and activation != found.scores.activation:
        if fitting[0] not in PLAIN:
            raise ValueError(f"its files say that the activation is {found.scores.activation}")
        return replace(found, scores=replace(found.scores, activation=activation))
    return found
