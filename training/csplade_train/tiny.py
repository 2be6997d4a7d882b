"""Tiny random-weight checkpoints for tests: real graph, real tokenizer, under a megabyte.

python -m csplade_train.tiny --wordnet DIR --out test/fixtures/checkpoints
"""

from __future__ import annotations

import argparse
import itertools
import json
from dataclasses import replace
from pathlib import Path

import torch
from tokenizers import Tokenizer

from . import tokenizer as tok
from .batches import padded
from .checkpoints import Description, write
from .data import wordnet
from .lexicon import Lexicon, TermSpace, hashed_id, stem, words
from .model import ModelConfig, SparseEncoder, top_terms

LIMITS = {"document": 32, "query": 16}
TOP_K = {"document": 64, "query": 32}
TEXTS = [
    "",
    " ",
    "cat",
    "A cat sat on the mat.",
    "The Cat, sitting; on-a MAT!",
    "sparse retrieval with causal language models",
    "small animals that hunt mice at night",
    "Numbers 1954 and 3.14 do not trip it (much).",
    "emoji \U0001f680\U0001f431 and a flag \U0001f1e8\U0001f1ed",
    "\u4e2d\u6587\u68c0\u7d22 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \ud55c\uad6d\uc5b4",
    "nul \u0000 and tab\tand\nnewline, na\u00efve caf\u00e9, \ufb01ne, \u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2",
    "the water of the river flows to the sea and the people of the city live near the water " * 4,
]


def glosses_of(wordnet_directory: Path) -> list[str]:
    """Every sixth gloss of WordNet's first 60,000."""
    return [s.definition for s in itertools.islice(wordnet.read(wordnet_directory), 0, 60000, 6)]


WORDS = [
    "The who, the WHAT and the why",
    "the who",
    "deadlocks DEADLOCKED dead-locks",
    "snake_case kebab-case dotted.name x1y2 3.14 1954 c c++ C#",
    "don't we'll l'\u00e9t\u00e9 o\u2019clock",
    "na\u00efve cafe\u0301 caf\u00e9 \ufb01ne \u00bd \u210c\u2460\u3392 \uff21\uff22\uff23 \u0130stanbul Stra\u00dfe \u1e9e",
    "\u03a3\u03af\u03c3\u03c5\u03c6\u03bf\u03c2 \u03a3\u0391\u03a3 \u03bb\u03cc\u03b3\u03bf\u03c2",
    "\u4e2d\u6587\u68c0\u7d22 \u65e5 \u65e5\u672c\u8a9e\u306e\u30c6\u30ad\u30b9\u30c8 \u30b3\u30fc\u30d2\u30fc \uff8e\uff9f\uff9d\uff84",
    "\u65e5\u672c\u8a9etext\u65e5\u672c Tokyo\u6771\u4eac2020 \U00020bb7\u91ce\u5c4b",
    "\ud55c\uad6d\uc5b4 \u1112\u1161\u11ab \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22 \u0939\u093f\u0928\u094d\u0926\u0940",
    "emoji \U0001f680\U0001f431 family \U0001f468\u200d\U0001f469\u200d\U0001f467 zero\u200bwidth soft\u00adhyphen",
    "constructor __proto__ toString hasOwnProperty",
    " ".join(["a" * 64, "b" * 65, "\u00e9" * 64, "\u00e9" * 65]),
    "generously generalizations flies dying skis news succeeding communism happiness relational",
    "nul \u0000 tab\tand\nnewline\r\nreturn\u00a0nbsp\u3000ideographic",
]
"""Texts of which the words alone are written down."""


def build(variant: str, wordnet_directory: Path, seed: int = 7) -> tuple[SparseEncoder, str]:
    """The fixture's model: random weights, a tokenizer trained on every sixth gloss."""
    return from_texts(variant, glosses_of(wordnet_directory), 1024, seed)


def from_texts(variant: str, texts: list[str], vocabulary: int, seed: int) -> tuple[SparseEncoder, str]:
    """A random Llama of two layers whose bias leaves about 10 to 40 terms active on short texts."""
    torch.manual_seed(seed)
    text = tok.train(texts, vocabulary)
    tokenizer = Tokenizer.from_str(text)
    vocabulary = tokenizer.get_vocab_size()
    config = ModelConfig(
        vocabulary=vocabulary, hidden=64, layers=2, heads=4, key_value_heads=2, intermediate=128, variant=variant
    )
    model = SparseEncoder(config).eval()
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            continue
        torch.nn.init.normal_(parameter, std=0.3 if name == "embedding.weight" else 0.08)
    model.freeze_skip_statistics()
    mask = torch.tensor(tok.term_mask(tokenizer))
    model.term_mask.copy_(mask)
    with torch.no_grad():
        model.gain.zero_()
        model.bias.zero_()
        ids, attention = batch(tokenizer, texts[:200], LIMITS["document"])
        pooled = model.pooled(ids, attention)
        mean, std = pooled[:, mask].mean(0), float(pooled[:, mask].std(0).mean())
        counts = torch.bincount(ids[attention.bool()], minlength=vocabulary).float()
        rarity = torch.log(counts.sum() / (counts + 1.0)) / 10.0
        model.gain.copy_(5.0 * std * rarity)
        model.bias[mask] = -(mean + 2.9 * std)
    return model, text


def batch(tokenizer: Tokenizer, texts: list[str], limit: int) -> tuple[torch.Tensor, torch.Tensor]:
    return padded(tok.encode_batch(tokenizer, texts, limit))


def expected(model: SparseEncoder, text: str) -> list[dict[str, object]]:
    """For each text: ids cut to the document limit, and the model's heaviest terms."""
    tokenizer = Tokenizer.from_str(text)
    result: list[dict[str, object]] = []
    with torch.no_grad():
        for sample in TEXTS:
            ids, mask = batch(tokenizer, [sample], LIMITS["document"])
            terms = top_terms(model(ids, mask), TOP_K["document"])[0]
            result.append(
                {
                    "text": sample,
                    "all_ids": tokenizer.encode(sample, add_special_tokens=False).ids,
                    "ids": ids[0, : int(mask.sum())].tolist(),
                    "terms": [{"index": i, "weight": round(w, 6), "term": tokenizer.decode([i])} for i, w in terms],
                }
            )
    return result


def expected_with_words(model: SparseEncoder, text: str, lexicon: Lexicon) -> list[dict[str, object]]:
    """For each text: its words, its stems, and its vectors as document and as query by term id."""
    tokenizer = Tokenizer.from_str(text)
    space = TermSpace(tokenizer, lexicon)
    result: list[dict[str, object]] = []
    for sample in TEXTS:
        vectors: dict[str, object] = {}
        for role in ("document", "query"):
            ids, mask = batch(tokenizer, [sample], LIMITS[role])
            with torch.no_grad():
                terms = top_terms(model(ids, mask), TOP_K[role])[0]
            rows, weights = [i for i, _ in terms], [w for _, w in terms]
            joined = space.joined(sample, rows, weights, role, TOP_K[role])
            vectors[role] = [{"id": space.ids[c], "weight": round(w, 6)} for c, w in joined.items()]
        result.append({"text": sample, "words": words(sample), "stems": lexicon.stems(sample), **vectors})
    return result


def expected_words(text: str, lexicon: Lexicon) -> dict[str, object]:
    """For each text its words, their stems and term ids; some hashes; the stem of every word."""
    space = TermSpace(Tokenizer.from_str(text), lexicon)
    samples = WORDS + TEXTS
    listed = [
        {
            "text": sample,
            "words": words(sample),
            "stems": lexicon.stems(sample),
            "ids": [space.ids[space.column(s)] for s in lexicon.stems(sample)],
        }
        for sample in samples
    ]
    return {
        "words": listed,
        "hashes": {s: hashed_id(s) for s in ["", "a", "deadlock", "caf\u00e9", "\u65e5\u672c"]},
        "stems": {w: stem(w) for w in sorted({w for sample in samples for w in words(sample)})},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--wordnet", type=Path, required=True, help="directory with data.noun, data.verb, …")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for variant in ("bi", "echo"):
        model, text = build(variant, arguments.wordnet)
        about = Description(
            name=f"csplade-tiny-{variant}",
            base={"name": "random", "source": "random weights, seed 7", "license": "Apache-2.0"},
            max_tokens=LIMITS,
            top_k=TOP_K,
            training={"note": "random weights for tests; the tokenizer was trained on WordNet 3.0 glosses"},
        )
        directory = arguments.out / f"tiny-{variant}"
        write(directory, model, text, "fp32", about)
        document = {"max_tokens": LIMITS["document"], "top_k": TOP_K["document"], "texts": expected(model, text)}
        expected_json = json.dumps(document, indent=1, ensure_ascii=True)
        (directory / "expected.json").write_text(expected_json + "\n", encoding="utf-8")
    glosses = glosses_of(arguments.wordnet)
    model, text = build("bi", arguments.wordnet)
    lexicon = Lexicon.of(glosses, length=12.0)
    model.term_mask &= TermSpace(Tokenizer.from_str(text), lexicon).of_row >= 0
    about = replace(about, name="csplade-tiny-lexical")
    directory = arguments.out / "tiny-lexical"
    write(directory, model, text, "fp32", about, lexicon=lexicon)
    document = {"max_tokens": LIMITS, "top_k": TOP_K, "texts": expected_with_words(model, text, lexicon)}
    expected_json = json.dumps(document, indent=1, ensure_ascii=True)
    (directory / "expected.json").write_text(expected_json + "\n", encoding="utf-8")
    words_json = json.dumps(expected_words(text, lexicon), indent=1, ensure_ascii=True)
    (directory / "words.json").write_text(words_json + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
