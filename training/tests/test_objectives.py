"""Each option of the recipe does what it says, in a run that really trains."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from test_resume import rows, train
from tokenizers import Tokenizer
from world import pairs, start_run, tiny_start

from csplade_train import adaptation, checkpoints, cli, lora, mining, negatives
from csplade_train import tokenizer as tok
from csplade_train.batches import padded
from csplade_train.lexical import LexicalTeacher
from csplade_train.query_table import FILE, QueryTable
from csplade_train.recipe import recipe_of

SHORT: dict[str, object] = {"steps": 6, "adaptation_steps": 0, "evaluate_every": 100, "save_every_seconds": 600}


def losses_of(directory: Path, recipe: dict[str, object], *more: str) -> list[float]:
    start_run(directory, SHORT | recipe)
    assert train(directory, *more) == 0
    return [row["loss"] for row in rows(directory)]


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return losses_of(tmp_path_factory.mktemp("plain"), {})


@pytest.mark.parametrize("option", ["gradient_cache", "gradient_checkpointing"])
def test_saving_memory_does_not_change_what_is_learnt(plain: list[float], option: str, tmp_path: Path) -> None:
    assert losses_of(tmp_path, {option: True}) == pytest.approx(plain, rel=2e-2)


def test_two_processes_with_sharded_layers_learn_what_one_learns(plain: list[float], tmp_path: Path) -> None:
    from processes import train_in_two

    start_run(tmp_path, SHORT | {"evaluate_every": 3})
    train_in_two(tmp_path)
    assert [row["loss"] for row in rows(tmp_path)] == pytest.approx(plain, rel=2e-2)
    model, _ = checkpoints.load_master(tmp_path / "master.pt")
    assert all(torch.isfinite(p).all() for p in model.parameters())


def test_lora_trains_adapters_over_a_frozen_trunk_and_saves_merged_weights(tmp_path: Path) -> None:
    losses_of(tmp_path, {"lora_rank": 4, "lora_alpha": 8.0, "learning_rate": 1e-2})
    before = torch.load(tmp_path / "start.pt", weights_only=True)["state"]
    after = torch.load(tmp_path / "state.pt", weights_only=True)["model"]
    name = "layers.0.attention.q"
    assert torch.equal(after[f"{name}.base_layer.weight"], before[f"{name}.weight"])
    assert after[f"{name}.lora_B.default.weight"].abs().max() > 0
    merged, _ = checkpoints.load_master(tmp_path / "master.pt")
    assert not torch.equal(merged.state_dict()[f"{name}.weight"], before[f"{name}.weight"])


def test_merged_adapters_compute_what_the_adapters_compute() -> None:
    made = pairs(40)
    model, text, _ = tiny_start(made)
    lora.inject(model, 4, 8.0)
    with torch.no_grad():
        for parameter_name, parameter in model.named_parameters():
            if "lora_B" in parameter_name:
                parameter.normal_(std=0.1)
        ids, mask = padded(tok.encode_batch(Tokenizer.from_str(text), [p.passage for p in made[:4]], 40))
        torch.testing.assert_close(lora.merged(model.eval()).eval()(ids, mask), model(ids, mask), atol=1e-4, rtol=1e-4)


def test_the_inference_free_mode_learns_a_table_and_exports_it(tmp_path: Path) -> None:
    losses_of(tmp_path, {"query_encoder": "table", "table_rate": 0.05, "flops_idf_power": 1.0, "evaluate_every": 6})
    table = checkpoints.load_query_table(tmp_path / "master.pt")
    assert table is not None and (table >= 0).all() and table.max() > 0.5
    out = tmp_path / "checkpoint"
    assert cli.main(["export", "--run", str(tmp_path), "--out", str(out), "--precision", "fp32"]) == 0
    written = json.loads((out / FILE).read_text(encoding="utf-8"))["weights"]
    assert written == pytest.approx(table.tolist(), abs=1e-5)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["files"][FILE]["sha256"] == checkpoints.sha256_of(out / FILE)
    dev = [json.loads(line).get("dev") for line in (tmp_path / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [d for d in dev if d][-1]["mrr@10"] > 0.2, "the table's queries find their passages"


def test_a_query_of_the_table_counts_each_word_once_and_never_padding() -> None:
    mask_of_terms = torch.tensor([False, True, True, True])
    table = QueryTable(torch.tensor([5.0, 1.0, 2.0, -3.0]), mask_of_terms)
    query = table(torch.tensor([[1, 2, 1, 0]]), torch.tensor([[1, 1, 1, 0]]))
    assert query.tolist() == [[0.0, 1.0, 2.0, 0.0]]


@pytest.mark.parametrize("candidate", ["own", "next_token", "saturated", "pairs"])
def test_every_adaptation_candidate_trains_and_lowers_its_own_loss(candidate: str, tmp_path: Path) -> None:
    recipe = {"steps": 24, "adaptation": candidate, "adaptation_steps": 24, "learning_rate": 3e-3, "term_rate": 1e-2}
    if candidate in ("next_token", "saturated"):
        recipe["embedding_rate"] = 3e-3  # Random embeddings predict nothing.
    values = losses_of(tmp_path, recipe)
    assert sum(values[-8:]) < sum(values[:8])


@pytest.mark.parametrize("variant", ["bi", "echo"])
def test_saturated_adaptation_is_a_language_models_loss_of_scores_and_of_weights(
    variant: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = pairs(40)
    model, text, _ = tiny_start(made, variant)
    ids, mask = padded(
        tok.encode_batch(Tokenizer.from_str(text), [p.passage[: 30 + 9 * n] for n, p in enumerate(made[:5])], 40)
    )
    states, _ = model.hidden(ids, mask, causal=True)
    changed = ids.clone()
    changed[:, 3] = (changed[:, 3] + 1) % model.config.vocabulary
    moved, _ = model.hidden(changed, mask, causal=True)
    distance = (states - moved).abs().amax(-1).amax(0)
    assert distance[:3].max() == 0 and distance[3:].min() > 0, "no position sees what stands behind it"
    expected = []
    for row, real, state in zip(ids, mask, states, strict=True):
        for n in range(int(real.sum()) - 1):
            scores = model.terms() @ state[n]
            both = scores, torch.log1p(torch.relu(scores))
            expected.append(-sum(s.log_softmax(0)[row[n + 1]] for s in both))
    for size in (adaptation.POSITIONS, 7):
        monkeypatch.setattr(adaptation, "POSITIONS", size)
        loss = adaptation.saturated_loss(model, ids, mask)
        assert loss.item() == pytest.approx(torch.stack(expected).mean().item(), rel=1e-4)
    lone = adaptation.saturated_loss(model, ids[:, :1], mask[:, :1])
    assert lone.item() == 0.0, "one token has none to predict"


def test_blanking_spares_the_first_token_and_padding() -> None:
    ids = torch.arange(1, 41).view(4, 10)
    mask = torch.ones_like(ids)
    mask[0, 4:] = 0
    given, chosen = adaptation.blanked(ids, mask, 0.5, torch.Generator().manual_seed(0))
    assert chosen.any() and not chosen[:, 0].any() and not chosen[0, 4:].any()
    assert (given[chosen] == adaptation.BLANK).all() and torch.equal(given[~chosen], ids[~chosen])


def test_hard_negatives_with_scores_of_a_file_are_mined_read_and_trained_on(tmp_path: Path) -> None:
    recipe = {"negatives": 2, "file_weight": 1.0, "margin_weight": 0.1}
    start_run(tmp_path, SHORT | recipe)
    mined = tmp_path / "mined.jsonl"
    words = ["mine", "--pairs", str(tmp_path / "pairs.jsonl"), "--out", str(mined), "--count", "3", "--texts"]
    assert cli.main([*words, "--threads", "1"]) == 0
    scored = []
    for line in mined.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        # Some cross-encoder elsewhere: here the share of the query's words that the passage has.
        asked = set(row["query"].split())
        row["score"] = 10.0 * len(asked & set(row["positive"].split())) / len(asked)
        for entry in row["negatives"]:
            entry["score"] = 10.0 * len(asked & set(entry["text"].split())) / len(asked)
        scored.append(json.dumps(row))
    mined.write_text("\n".join(scored), encoding="utf-8")
    assert train(tmp_path, "--negatives", str(mined)) == 0
    for row in rows(tmp_path):
        assert row["kl_file"] >= 0 and row["margin_mse"] >= 0


def test_mined_passages_share_words_with_the_query_and_never_its_document() -> None:
    made = pairs(60, topics=6)
    groups = [f"document {n // 2}" for n in range(60)]
    teacher = LexicalTeacher([p.query for p in made], [p.passage for p in made])
    found = mining.hardest(*mining.lexical_vectors(teacher), groups, 5)
    for n, row in enumerate(found):
        assert row and all(groups[m] != groups[n] for m in row)
        assert set(made[n].query.split()) & set(made[row[0]].passage.split())
    scores = teacher.scores(list(range(60)))
    assert all(scores[n, row[0]] >= scores[n, row[-1]] for n, row in enumerate(found))


def test_renumbering_drops_held_out_passages_with_their_scores() -> None:
    mined = {3: negatives.Negatives(3, (0, 1, 2), 9.0, (1.0, 2.0, 3.0)), 1: negatives.Negatives(1, (3,))}
    assert negatives.renumbered(mined, [0, 2, 3]) == {2: negatives.Negatives(2, (0, 1), 9.0, (1.0, 3.0))}


def test_a_negatives_file_of_other_pairs_or_half_scored_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "n.jsonl"
    file.write_text('{"pair": 1, "negatives": [{"pair": 99}]}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="beyond the 10"):
        negatives.read(file, 10)
    file.write_text('{"pair": 1, "negatives": [{"pair": 2, "score": 1.0}, {"pair": 3}]}\n', encoding="utf-8")
    with pytest.raises(ValueError, match="every passage"):
        negatives.read(file, 10)


@pytest.mark.parametrize("wrong", [{"adaptation": "magic"}, {"query_encoder": "none"}, {"stepz": 3}])
def test_a_recipe_with_an_unknown_key_or_choice_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        recipe_of(wrong)
