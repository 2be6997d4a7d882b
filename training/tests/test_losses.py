"""The losses are the formulas of their papers."""

from __future__ import annotations

import math

import pytest
import torch

from csplade_train import losses


def test_contrast_is_the_cross_entropy_of_the_diagonal() -> None:
    scores = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
    expected = (math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-3))) / 2
    assert losses.contrast(scores, torch.zeros(2, 2, dtype=torch.bool)).item() == pytest.approx(expected)


def test_contrast_leaves_out_other_passages_of_the_same_document() -> None:
    scores = torch.tensor([[1.0, 50.0, 0.0], [50.0, 1.0, 0.0], [0.0, 0.0, 1.0]])
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    assert losses.contrast(scores, same).item() < 0.5
    assert losses.contrast(scores, torch.eye(3, dtype=torch.bool)).item() > 20


def test_distillation_is_zero_only_for_the_teachers_distribution() -> None:
    teacher = torch.tensor([[3.0, 1.0, 0.0]])
    assert losses.distillation(teacher + 7.0, teacher).item() == pytest.approx(0.0, abs=1e-6)
    p, q = teacher.softmax(-1), torch.full((1, 3), 1 / 3)
    assert losses.distillation(torch.zeros(1, 3), teacher).item() == pytest.approx(
        float((p * (p / q).log()).sum()), rel=1e-5
    )


def test_flops_is_the_sum_of_squared_mean_weights_and_l1_the_mean_total() -> None:
    weights = torch.tensor([[1.0, 0.0, 2.0], [3.0, 0.0, 0.0]])
    assert losses.flops(weights).item() == pytest.approx(2.0**2 + 1.0**2)
    assert losses.l1(weights).item() == pytest.approx(3.0)


def test_the_ramp_is_quadratic_and_stays_at_one() -> None:
    assert [losses.ramp(s, 10) for s in (0, 5, 10, 50)] == [0.0, 0.25, 1.0, 1.0]
    assert losses.ramp(0, 0) == 1.0


def test_margin_mse_compares_margins_of_the_known_passages_only() -> None:
    scores = torch.tensor([[5.0, 3.0, 9.0], [1.0, 4.0, 0.0]])
    teacher = torch.tensor([[2.0, 1.0, 0.0], [0.0, 3.0, 2.0]])
    usable = torch.tensor([[True, True, False], [True, True, True]])
    # margins: 5-3 against 2-1; 4-1 against 3-0; 4-0 against 3-2
    assert losses.margin_mse(scores, teacher, usable).item() == pytest.approx((1.0 + 0.0 + 9.0) / 3)


def test_listwise_distillation_ignores_passages_that_the_file_did_not_score() -> None:
    teacher = torch.tensor([[2.0, float("-inf"), 0.0]])
    student = torch.tensor([[3.0, 50.0, 1.0]], requires_grad=True)
    loss = losses.listwise(student, teacher)
    assert loss.item() == pytest.approx(0.0, abs=1e-6)
    (gradient,) = torch.autograd.grad(losses.listwise(student * 2, teacher), student)
    assert gradient[0, 1] == 0.0 and torch.isfinite(gradient).all() and gradient[0, 0] > 0


def test_idf_aware_flops_costs_more_for_common_terms_and_is_plain_at_power_0() -> None:
    idf = torch.tensor([0.5, 2.0, 8.0])
    weights = torch.ones(2, 3)
    assert losses.flops(weights, losses.idf_penalties(idf, 0.0)).item() == pytest.approx(losses.flops(weights).item())
    penalties = losses.idf_penalties(idf, 1.0)
    assert penalties[0] > penalties[1] > penalties[2]
    assert penalties[0] / penalties[2] == pytest.approx(16.0)
