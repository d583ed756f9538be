"""The optimiser against torch's own classes, and what must not move."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from vocabkit.pretraining.distributed import World
from vocabkit.pretraining.model import Model
from vocabkit.pretraining.run_config import ModelConfig, OptimizerSettings
from vocabkit.pretraining.trainer import Optimizer, _clip_gradients

ALONE = World(0, 1, torch.device("cpu"))
SETTINGS = OptimizerSettings(weight_decay=0.1, embedding_weight_decay=0.03)


def make_model(*, tied: bool = True) -> Model:
    return Model(ModelConfig("xlmr", 50, width=8, layers=1, heads=2, feed_forward=12, tied=tied), seed=0)


def give_gradients(model: Model, step: int) -> None:
    for place, parameter in enumerate(model.parameters()):
        generator = torch.Generator().manual_seed(100 * step + place)
        parameter.grad = torch.randn(parameter.shape, generator=generator)


def values(model: Model) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in model.named_parameters()}


def state(optimizer: Optimizer) -> dict[str, Tensor]:
    return {name: value.clone() for name, value in optimizer.tensors().items()}


def test_gradients_come_in_the_models_order() -> None:
    """Norms are summed in it; a set's order is another one in every process."""
    model = make_model()
    give_gradients(model, 0)
    optimizer = Optimizer(model, SETTINGS)
    names = [name for name, _ in model.named_parameters()]
    for some in (names, names[::-1], frozenset(names), names[2:9][::-1]):
        found = list(optimizer.gradients(some, None))
        assert found == [name for name in names if name in some]


@pytest.mark.parametrize("tied", [True, False])
def test_it_moves_as_torchs_own_adamw_with_groups(tied: bool) -> None:
    ours, theirs = make_model(tied=tied), make_model(tied=tied)
    optimizer = Optimizer(ours, SETTINGS)
    decays = {
        name: 0.0 if value.ndim < 2 else 0.03 if name in ("table", "output_table") else 0.1
        for name, value in theirs.named_parameters()
    }
    groups = [{"params": [value], "weight_decay": decays[name]} for name, value in theirs.named_parameters()]
    reference = torch.optim.AdamW(groups, lr=1.0, betas=SETTINGS.betas, eps=SETTINGS.epsilon)
    for step in range(4):
        rate = 0.01 * (step + 1)
        give_gradients(ours, step)
        give_gradients(theirs, step)
        optimizer.step(optimizer.gradients(optimizer.parameters, None), rate)
        for group in reference.param_groups:
            group["lr"] = rate
        reference.step()
    for name, value in values(theirs).items():
        torch.testing.assert_close(values(ours)[name], value, rtol=1e-5, atol=1e-7)


def test_chosen_rows_move_as_in_a_whole_step_and_others_not_at_all() -> None:
    whole, chosen = make_model(tied=False), make_model(tied=False)
    rows = torch.tensor([3, 41, 7])
    others = torch.tensor([row for row in range(whole.config.rows) if row not in rows.tolist()])
    optimizers = [Optimizer(model, SETTINGS) for model in (whole, chosen)]
    for optimizer in optimizers:
        # Moments of an earlier run must not move what stands still.
        for name in optimizer.parameters:
            optimizer.means[name].fill_(0.5)
            optimizer.squares[name].fill_(0.1)
    before, before_state = values(chosen), state(optimizers[1])
    for step in range(3):
        for model, optimizer, limit in zip((whole, chosen), optimizers, (None, rows), strict=True):
            give_gradients(model, step)
            gradients = optimizer.gradients(optimizer.by_row, limit)
            optimizer.step(gradients, 0.01, rows=limit)
    after, reference, moments = values(chosen), values(whole), state(optimizers[1])
    for name in after:
        if name not in ("table", "output_table", "output_bias"):
            assert torch.equal(after[name], before[name])
            continue
        assert torch.equal(after[name][others], before[name][others])
        assert not torch.equal(after[name][rows], before[name][rows])
        torch.testing.assert_close(after[name][rows], reference[name][rows], rtol=1e-6, atol=1e-7)
        for kind in ("exp_avg", "exp_avg_sq"):
            held = f"{kind}.{name}"
            assert torch.equal(moments[held][others], before_state[held][others])


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("where", ["loss", "gradient"])
def test_a_step_that_is_not_finite_changes_nothing(bad: float, where: str) -> None:
    model = make_model()
    optimizer = Optimizer(model, SETTINGS)
    give_gradients(model, 0)
    optimizer.step(optimizer.gradients(optimizer.parameters, None), 0.01)
    before, moments = values(model), state(optimizer)
    for rows in (None, torch.tensor([1, 2])):
        give_gradients(model, 1)
        loss = torch.tensor(bad if where == "loss" else 1.0)
        names = optimizer.parameters if rows is None else optimizer.by_row
        gradients = optimizer.gradients(names, rows)
        if where == "gradient":
            gradients["table"][0, 0] = bad
        _, _, skip = _clip_gradients(gradients.values(), loss, 1.0, ALONE)
        assert skip == 1.0
        optimizer.step(gradients, 0.01, rows=rows, skip=skip)
        assert all(torch.equal(value, before[name]) for name, value in values(model).items())
        assert all(torch.equal(value, moments[name]) for name, value in state(optimizer).items())


def test_a_shard_without_a_row_that_moves_counts_the_step_all_the_same() -> None:
    model = make_model()
    optimizer = Optimizer(model, SETTINGS)
    none = torch.zeros(0, dtype=torch.int64)
    give_gradients(model, 0)
    for skip in (torch.tensor(0.0), torch.tensor(1.0)):
        optimizer.step(optimizer.gradients(["table"], none), 0.01, rows=none, skip=skip)
    assert optimizer.steps["table"] == 1.0


@pytest.mark.parametrize("limit", [0.5, 1e6, 0.0])
def test_clipping_is_torchs_own(limit: float) -> None:
    ours, theirs = make_model(), make_model()
    give_gradients(ours, 0)
    give_gradients(theirs, 0)
    gradients = [value.grad for value in ours.parameters() if value.grad is not None]
    loss, norm, skip = _clip_gradients(gradients, torch.tensor(3.0), limit, ALONE)
    expected = torch.nn.utils.clip_grad_norm_(theirs.parameters(), limit or float("inf"))
    torch.testing.assert_close(norm, expected)
    assert (loss.item(), skip.item()) == (3.0, 0.0)
    for one, two in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert one.grad is not None
        assert two.grad is not None
        torch.testing.assert_close(one.grad, two.grad)
