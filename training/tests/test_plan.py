"""What is told of a run before it starts, against the trainer's own parts and the documentation."""

import json
from pathlib import Path

import pytest
import torch
from world import RECIPE, pairs, tiny_start

from csplade_train import lora, parallel, plan
from csplade_train.cli import main, read_config
from csplade_train.model import Layer, ModelConfig, rotary_tables
from csplade_train.recipe import Recipe, recipe_of
from csplade_train.trunk_shape import TrunkShape

TRAINING = Path(__file__).parent.parent
LLAMA_8B = {
    "architectures": ["LlamaForCausalLM"],
    "model_type": "llama",
    "hidden_act": "silu",
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05,
    "rope_theta": 500000.0,
    "rope_scaling": {
        "factor": 8.0,
        "high_freq_factor": 4.0,
        "low_freq_factor": 1.0,
        "original_max_position_embeddings": 8192,
        "rope_type": "llama3",
    },
    "tie_word_embeddings": False,
    "vocab_size": 128256,
    "max_position_embeddings": 131072,
}
SHAPE = TrunkShape(256, 3, 4, 2, 64, 768, 1e-5)
H100 = plan.DEVICES["h100-80"]


def planned(recipe: Recipe, count: int = 1, vocabulary: int = 1000, variant: str = "bi") -> plan.Plan:
    config = {"vocab_size": vocabulary, "tie_word_embeddings": True}
    return plan.plan(config, SHAPE, recipe, variant, H100, count, 0.5, None)


def test_what_a_plan_trains_is_what_the_trainer_trains() -> None:
    model, _, _ = tiny_start(pairs())
    c = model.config
    shape = TrunkShape(c.hidden, c.layers, c.heads, c.key_value_heads, c.head_size, c.intermediate, c.norm_epsilon)
    config = {"vocab_size": c.vocabulary, "tie_word_embeddings": True}
    recipe = recipe_of(RECIPE | {"lora_rank": 4})
    told = plan.plan(config, shape, recipe, "bi", H100, 1, 0.5, None)
    whole = sum(p.numel() for p in model.parameters())
    norms = sum(p.numel() for n, p in model.named_parameters() if "norm" in n)
    others = c.hidden * c.hidden + 2 * c.vocabulary
    scalars = 3 + c.hidden
    assert told.parameters + others + norms + scalars == whole
    lora.inject(model, 4, 64.0)
    adapters = sum(p.numel() for n, p in model.named_parameters() if ".lora_" in n)
    assert told.trained == adapters + others


@pytest.mark.parametrize("hidden,intermediate", [(256, 768), (128, 1024)])
def test_activations_are_near_what_a_layer_leaves_in_the_graph(hidden: int, intermediate: int) -> None:
    heads, narrow, size, batch, length = 4, 2, hidden // 4, 4, 48
    c = ModelConfig(
        vocabulary=50, hidden=hidden, layers=1, heads=heads, key_value_heads=narrow, intermediate=intermediate
    )
    layer = Layer(c)
    own = {p.untyped_storage().data_ptr() for p in layer.parameters()}
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        storage = tensor.untyped_storage()
        # Weights in bfloat16 are kept once a step, not once a token.
        if storage.data_ptr() not in own and tensor.shape[0] == batch:
            kept[storage.data_ptr()] = storage.nbytes()
            held.append(tensor)
        return tensor

    held: list[torch.Tensor] = []
    positions = torch.arange(length).expand(batch, -1)
    cos, sin = rotary_tables(positions, c.frequencies)
    mask = torch.zeros(batch, 1, length, length, dtype=torch.bfloat16)
    x = torch.randn(batch, length, hidden, requires_grad=True)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t), torch.autocast("cpu", dtype=torch.bfloat16):
        layer(x, cos, sin, mask)
    seen = sum(kept.values()) / (batch * length)
    shape = TrunkShape(hidden, 1, heads, narrow, size, intermediate, 1e-5)
    told = plan._activations(shape)
    assert 0.75 < told / seen < 1.35, (told, seen)


def test_devices_and_options_change_what_they_should() -> None:
    base = Recipe(batch=32, lora_rank=8)
    one, four = planned(base), planned(base, 4)
    assert four.memory.total < one.memory.total
    assert four.tokens_a_second == pytest.approx(4 * one.tokens_a_second)
    assert planned(Recipe(batch=32, lora_rank=8, gradient_checkpointing=True)).memory.activations < (
        one.memory.activations / 3
    )
    cached = planned(Recipe(batch=32, lora_rank=8, gradient_cache=True))
    assert cached.memory.activations < one.memory.activations
    assert cached.tokens_a_second < one.tokens_a_second
    assert planned(Recipe(batch=32)).memory.optimizer > 5 * one.memory.optimizer
    assert planned(base, variant="echo").tokens_a_step == 2 * one.tokens_a_step
    with pytest.raises(ValueError, match="a batch of 32 does not divide among 5 devices"):
        planned(base, 5)


def test_every_configuration_names_keys_that_exist() -> None:
    for path in sorted((TRAINING / "configs").rglob("*.yaml")):
        config = read_config(path)
        assert recipe_of(config["recipe"]).steps > 0, path
        assert config["start"]["variant"] in ("bi", "echo"), path


@pytest.mark.parametrize(
    ("name", "devices"), [("laconic", ["--gpus", "8"]), ("paper-8b", ["--gpus", "16", "--gpu", "a100-40"])]
)
def test_the_plans_of_8b_in_the_readme_are_what_the_command_prints(
    name: str, devices: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B), encoding="utf-8")
    config = str(TRAINING / "configs" / f"{name}.yaml")
    words = ["plan", "--model", str(tmp_path), "--config", config, *devices, "--price-per-hour", "2.5"]
    assert main(words) == 0
    shown = capsys.readouterr().out
    readme = (TRAINING / "README.md").read_text(encoding="utf-8")
    assert shown in readme
    assert f"configs/{name}.yaml {' '.join(devices)} --price-per-hour 2.5" in readme
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["fits"] is True
    assert main(["plan", "--model", str(tmp_path), "--config", config, "--share", "2"]) == 2
    assert "above 0 and at most 1" in capsys.readouterr().err


def test_the_papers_setting_has_both_variants_and_an_echo_takes_the_hours_that_the_readme_says(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(LLAMA_8B), encoding="utf-8")
    given = (TRAINING / "configs" / "paper-8b.yaml").read_text(encoding="utf-8")
    (tmp_path / "echo.yaml").write_text(given.replace("variant: bi", "variant: echo"), encoding="utf-8")
    words = ["plan", "--model", str(tmp_path), "--config", str(tmp_path / "echo.yaml")]
    assert main([*words, "--gpus", "16", "--gpu", "a100-40"]) == 0
    hours = capsys.readouterr().out.splitlines()[-1]
    assert f"with `variant: echo` it is {hours}" in (TRAINING / "README.md").read_text(encoding="utf-8")


def test_steps_of_adaptation_cost_what_they_compute() -> None:
    whole = planned(Recipe(batch=32, negatives=7, steps=100, adaptation="pairs", adaptation_steps=50))
    for adaptation in ("own", "next_token", "saturated"):
        told = planned(Recipe(batch=32, negatives=7, steps=100, adaptation=adaptation, adaptation_steps=50))
        assert 0.5 * whole.hours < told.hours < 0.7 * whole.hours, "a step of eight passages a query costs more"


def test_processes_that_only_take_part_in_saving_keep_nothing() -> None:
    tree = {"a": torch.ones(3), "b": [torch.zeros(2)], "step": 4}
    kept, dropped = parallel.whole(tree), parallel.whole(tree, keep=False)
    assert torch.equal(kept["a"], tree["a"])
    assert (dropped["a"].numel(), dropped["b"][0].numel(), dropped["step"]) == (0, 0, 4)
