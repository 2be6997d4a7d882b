"""The custom backward passes give the gradients of the formulas they stand for."""

from __future__ import annotations

import torch

from csplade_train import losses
from csplade_train.pooling import max_logits


def example(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    states = torch.randn(3, 5, 8, generator=generator, dtype=dtype, requires_grad=True)
    embedding = torch.randn(11, 8, generator=generator, dtype=dtype, requires_grad=True)
    mask = torch.tensor([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [1, 0, 0, 0, 0]])
    return states, mask, embedding


def plain(states: torch.Tensor, mask: torch.Tensor, embedding: torch.Tensor) -> torch.Tensor:
    logits = states @ embedding.T
    return logits.masked_fill(~mask.bool()[..., None], float("-inf")).max(1).values


def test_max_logits_passes_gradcheck_with_padding() -> None:
    states, mask, embedding = example(torch.float64)
    assert torch.autograd.gradcheck(lambda s, e: max_logits(s, mask, e), (states, embedding))


def test_max_logits_equals_autograd_through_the_whole_vocabulary() -> None:
    states, mask, embedding = example(torch.float32)
    weight = torch.randn(3, 11).masked_fill(torch.rand(3, 11) < 0.5, 0.0)
    ours, theirs = max_logits(states, mask, embedding), plain(states, mask, embedding)
    torch.testing.assert_close(ours, theirs)
    got = torch.autograd.grad((ours * weight).sum(), (states, embedding))
    expected = torch.autograd.grad((theirs * weight).sum(), (states, embedding))
    torch.testing.assert_close(got, expected)
    assert not got[0][1, 2:].any(), "padding gets no gradient"


def test_an_activation_without_leak_is_log1p_relu_with_its_gradient() -> None:
    z = torch.linspace(-3, 3, 30, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: losses.activation(x, 0.0, 0.0), (z,))
    torch.testing.assert_close(losses.activation(z), torch.log1p(torch.relu(z)))


def test_the_leak_lets_a_nearly_active_term_rise_but_never_sinks_one() -> None:
    z = torch.tensor([-5.0, -1.0, -1.0, 1.0], requires_grad=True)
    weights = losses.activation(z, margin=2.0, leak=0.1)
    assert weights.tolist()[:3] == [0.0, 0.0, 0.0]
    wanted = torch.tensor([-1.0, -1.0, 1.0, 1.0])  # a negative gradient asks for more
    (gradient,) = torch.autograd.grad((weights * wanted).sum(), z)
    torch.testing.assert_close(gradient, torch.tensor([0.0, -0.1, 0.0, 0.5]))
