"""The recipe: every hyper-parameter of a run, from the `recipe` part of its YAML."""

from __future__ import annotations

from dataclasses import dataclass, field, fields

ADAPTATIONS = ("own", "next_token", "saturated", "pairs")
QUERY_ENCODERS = ("model", "table")


@dataclass(frozen=True)
class Recipe:
    """Hyper-parameters of a run; lengths in tokens, intervals in steps unless named otherwise.

    Adaptation (the first `adaptation_steps`), one of
      own         a text's own tokens at idf-shaped heights, all others down;
      next_token  masked next-token prediction without the causal mask (Lion-SP):
                  `blank_share` of the tokens blanked, each predicted at the position before it;
      saturated   next-token prediction under the causal mask, from a position's scores and from
                  log(1 + ReLU(scores)) alike, on the passages (CSPLADE);
      pairs       contrast alone on the pairs, no teacher (LACONIC's weakly supervised start).

    Ranking: contrast over the batch and `negatives` mined passages a query, KL to the
    teacher's scores over the batch (`distillation_weight`, and `reverse_weight` over queries),
    KL to the scores of a file over each query's own list (`file_weight`), and MarginMSE to
    the same teacher scores times `margin_scale` (`margin_weight`).

    Sparsity: FLOPS and L1 per side under a quadratic ramp; `flops_idf_power` > 0 makes
    FLOPS heavier on terms of low idf (p_t = (mean idf / idf_t)^power).

    query_encoder "table" trains the inference-free mode: a query is its distinct tokens
    with learned weights, and only documents go through the model.

    lexicon: vectors have a lexical part (lexicon.py), so the model learns what words alone
    leave out; scores are then shares of what the query's words could reach, over
    `student_temperature`, so that long and short questions weigh alike.
    """

    steps: int = 1000
    batch: int = 32
    cluster: int = 8
    query_tokens: int = 32
    document_tokens: int = 128
    learning_rate: float = 5e-5
    embedding_rate: float = 0.0
    skip_rate: float = 1e-5
    scalar_rate: float = 1e-3
    term_rate: float = 3e-3
    gain_rate: float = 3e-3
    """Rate of the per-token gains, which stand between 1 and 8: at 2e-3 they hardly move in a short run."""
    wordy: float = 0.3
    """Share of the queries that are put into the words of a request (see data/variety.py)."""
    table_rate: float = 1e-2
    warmup: int = 40
    decay_to: float = 0.1
    weight_decay: float = 0.01
    adaptation: str = "own"
    adaptation_steps: int = 40
    adaptation_others: float = 0.02
    blank_share: float = 0.2
    own_scale: float = 0.7
    lexicon: bool = False
    bias_shift: float = 0.0
    """Added to every term's bias before the first step: a run that begins with more terms than it will keep
    can choose among them, while a term that is never active gets no gradient."""
    query_encoder: str = "model"
    student_temperature: float = 1.0
    teacher_temperature: float = 0.05
    lexical_share: float = 0.4
    contrast_weight: float = 0.5
    distillation_weight: float = 1.0
    reverse_weight: float = 0.3
    file_weight: float = 0.0
    file_temperature: float = 1.0
    margin_weight: float = 0.0
    margin_scale: float = 1.0
    negatives: int = 0
    flops_document: float = 0.02
    flops_query: float = 0.02
    flops_idf_power: float = 0.0
    l1_query: float = 0.0
    l1_document: float = 0.0
    ramp_until: int = 400
    ramp_from: float = 0.2
    leak: float = 0.1
    margin: float = 2.0
    lora_rank: int = 0
    lora_alpha: float = 64.0
    gradient_checkpointing: bool = False
    gradient_cache: bool = False
    seed: int = 1
    evaluate_every: int = 200
    dev_corpus: int = 2000
    save_every_seconds: int = 240
    keep_at: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.adaptation not in ADAPTATIONS:
            raise ValueError(f"adaptation must be one of {', '.join(ADAPTATIONS)}, not {self.adaptation!r}")
        if self.query_encoder not in QUERY_ENCODERS:
            raise ValueError(f"query_encoder must be one of {', '.join(QUERY_ENCODERS)}, not {self.query_encoder!r}")


def recipe_of(values: dict[str, object]) -> Recipe:
    """The recipe of a YAML's values.  Raises ValueError for keys and choices that do not exist."""
    unknown = set(values) - {f.name for f in fields(Recipe)}
    if unknown:
        raise ValueError(f"unknown recipe keys: {', '.join(sorted(unknown))}")
    return Recipe(**values)  # type: ignore[arg-type]
