"""A small invented world to train on in seconds: topics with words of their own among words that all share."""

from __future__ import annotations

import random
from pathlib import Path

import torch
import yaml
from tokenizers import Tokenizer

from csplade_train import base, checkpoints, tiny
from csplade_train import tokenizer as tok
from csplade_train.data.pairs import Pair, write
from csplade_train.lexicon import Lexicon
from csplade_train.model import SparseEncoder

SYLLABLES = ("ba", "ke", "li", "mo", "nu", "ra", "se", "ti", "vo", "zu", "dan", "fer", "gil", "hom", "pur")


def words(count: int, seed: int) -> list[str]:
    """Distinct invented words of two or three syllables."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3)))] = None
    return list(found)


def pairs(count: int = 240, topics: int = 24, seed: int = 3) -> list[Pair]:
    """A query names three words of a topic; its passage mixes the topic's words with common ones."""
    rng = random.Random(seed)
    every = words(topics * 8 + 40, seed)
    common, own = every[:40], every[40:]
    result = []
    for n in range(count):
        topic = n % topics
        mine = own[topic * 8 : topic * 8 + 8]
        query = " ".join([*rng.sample(mine, 3), rng.choice(common)])
        body = rng.sample(mine, 5) + [rng.choice(common) for _ in range(15)]
        rng.shuffle(body)
        result.append(Pair(query, " ".join(body), "invented", f"invented#{n}"))
    return result


def tiny_start(made: list[Pair], variant: str = "bi", seed: int = 5) -> tuple[SparseEncoder, str, torch.Tensor]:
    """A calibrated tiny model of random weights, its tokenizer's JSON and the idf of its terms."""
    texts = [p.passage for p in made]
    model, text = tiny.from_texts(variant, texts, 420, seed)
    rows = tok.encode_batch(Tokenizer.from_str(text), texts, 64)
    idf = base.inverse_document_frequency(rows, model.config.vocabulary)
    base.calibrate(model, rows[:64], idf, trunk_std=0.6, distance=3.0, own_scale=0.7)
    return model, text, idf


RECIPE: dict[str, object] = {
    "steps": 24,
    "batch": 8,
    "cluster": 2,
    "query_tokens": 16,
    "document_tokens": 40,
    "learning_rate": 1.0e-3,
    "warmup": 4,
    "adaptation_steps": 4,
    "distillation_weight": 0.0,
    "reverse_weight": 0.0,
    "ramp_until": 10,
    "evaluate_every": 8,
    "dev_corpus": 20,
    "save_every_seconds": 0,
}


def start_run(directory: Path, recipe: dict[str, object], variant: str = "bi") -> Path:
    """A run directory ready for `csplade-train train`, and its pairs.jsonl."""
    directory.mkdir(parents=True, exist_ok=True)
    made = pairs()
    write(directory / "pairs.jsonl", made)
    model, text, idf = tiny_start(made, variant)
    checkpoints.save_master(directory / "start.pt", model, text)
    (directory / "tokenizer.json").write_text(text, encoding="utf-8")
    torch.save(idf, directory / "idf.pt")
    if recipe.get("lexicon"):
        Lexicon.of(p.passage for p in made).write(directory)
    config = {
        "start": {"seed": 5, "variant": variant},
        "recipe": RECIPE | recipe,
        "checkpoint": {
            "name": "csplade-test",
            "base": {"name": "random", "source": "seed 5", "license": "Apache-2.0"},
            "max_tokens": {"document": 64, "query": 32},
            "top_k": {"document": 64, "query": 32},
        },
    }
    (directory / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    return directory / "pairs.jsonl"
