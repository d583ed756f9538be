from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.pretraining.tiny_layouts import LAYOUTS, TINY, VOCABULARY, draw_documents, draw_model, pack
from vocabkit.core.errors import PretrainingError
from vocabkit.pretraining.batches import Batch
from vocabkit.pretraining.model import Model, compile_layers

DOCUMENTS = draw_documents([7, 12, 3, 24, 5, 9])
PACKED = pack([DOCUMENTS[:3], DOCUMENTS[3:4], DOCUMENTS[4:]], 24)

by_layout = pytest.mark.parametrize("layout", LAYOUTS)


def _places(batch: Batch) -> list[torch.Tensor]:
    """Places in the stream of each document, padding left out."""
    return [
        (batch.documents == number).nonzero().flatten()
        for number in range(int(batch.documents.max()) + 1)
        if not (batch.ids[batch.documents == number] == 1).all()
    ]


@by_layout
def test_packed_documents_are_as_if_alone(layout: str) -> None:
    model = draw_model(layout)
    with torch.no_grad():
        packed = model.logits(PACKED)
        for document, places in zip(DOCUMENTS, _places(PACKED), strict=True):
            alone = model.logits(pack([[document]], len(document)))
            assert (packed[places] - alone).abs().max() < 1e-4


@by_layout
def test_what_a_place_sees(layout: str) -> None:
    """Changing one token changes its document, from there on in a causal model; nothing else."""
    model = draw_model(layout)
    ids = PACKED.ids.clone()
    place = int(_places(PACKED)[1][5])
    ids[place] = 5 if ids[place] != 5 else 6
    with torch.no_grad():
        before, after = model.logits(PACKED), model.logits(replace(PACKED, ids=ids))
    changed = (before != after).any(1)
    start, stop = int(_places(PACKED)[1][0]), int(_places(PACKED)[1][-1]) + 1
    expected = torch.zeros_like(changed)
    expected[place if model.config.causal else start : stop] = True
    assert torch.equal(changed, expected)


@by_layout
@pytest.mark.parametrize("tied", [True, False])
def test_loss_is_cross_entropy_at_the_chosen_places(layout: str, tied: bool) -> None:
    model = draw_model(layout, tied=tied)
    logits = model.logits(PACKED, PACKED.chosen)
    nats = F.cross_entropy(logits, PACKED.targets, reduction="none")
    expected = (nats * PACKED.weights).sum()
    parameters = dict(model.named_parameters())
    wanted = torch.autograd.grad(expected, list(parameters.values()), materialize_grads=True)
    loss, found_nats = model(PACKED, head_rows=4)
    found = torch.autograd.grad(loss, list(parameters.values()), materialize_grads=True)
    assert torch.allclose(loss, expected, rtol=1e-5)
    assert torch.allclose(found_nats, nats, rtol=1e-4, atol=1e-5)
    for name, ours, theirs in zip(parameters, found, wanted, strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-3, atol=1e-4), name


@by_layout
def test_rows_of_padding_stay_zero(layout: str) -> None:
    model = Model(replace(TINY[layout], tied=False))
    assert model.table.shape == (128, 32)
    loss, _ = model(PACKED)
    loss.backward()
    for table in (model.table, model.output_table, model.output_bias):
        if table is not None:
            assert not table[VOCABULARY:].any()
            assert table.grad is not None
            assert not table.grad[VOCABULARY:].any()
            assert table.grad[:VOCABULARY].any()
    assert model.logits(PACKED).shape == (72, VOCABULARY)


def test_seed_decides_every_parameter() -> None:
    first, second, other = (Model(TINY["modern"]), Model(TINY["modern"]), Model(TINY["modern"], seed=1))
    pairs = zip(first.parameters(), second.parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)
    assert not torch.equal(first.table, other.table)
    deviation = TINY["modern"].initial_deviation
    assert float(first.table[:VOCABULARY].detach().std()) == pytest.approx(deviation, rel=0.1)
    # Ten additions to the stream: each block's output is drawn √10 times smaller.
    mixed = torch.stack([layer.mix.weight.detach() for layer in first.blocks])
    assert float(mixed.std()) == pytest.approx(deviation / 10**0.5, rel=0.1)


def test_tied_matrix_is_one_parameter() -> None:
    tied, untied = Model(TINY["llama"]), Model(replace(TINY["llama"], tied=False))
    assert tied.output is tied.table
    assert untied.output is not untied.table
    assert {name for name, _ in untied.named_parameters()} - {name for name, _ in tied.named_parameters()} == {
        "output_table"
    }


@by_layout
def test_meta_device_needs_no_memory(layout: str) -> None:
    with torch.device("meta"):
        model = Model(replace(TINY[layout], vocabulary=6 * 10**7), seed=None)
    assert all(parameter.is_meta for parameter in model.parameters())


@by_layout
def test_autocast_computes_in_bf16_and_sums_in_fp32(layout: str) -> None:
    model = draw_model(layout)
    expected, _ = model(PACKED)
    with torch.autocast("cpu", torch.bfloat16):
        states = model.states(PACKED.ids, PACKED.documents, PACKED.positions, PACKED.boundaries, PACKED.length)
        loss, nats = model(PACKED)
    assert states.dtype == torch.bfloat16
    assert loss.dtype == nats.dtype == torch.float32
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=0.02)
    loss.backward()
    assert all(
        parameter.grad is not None and parameter.grad.dtype == torch.float32 for parameter in model.parameters()
    )


@by_layout
def test_bf16_parameters_compute_what_autocast_does(layout: str) -> None:
    """FSDP2 hands parameters over in bf16; one process casts them on use. Both must train alike."""
    model, halved = draw_model(layout), draw_model(layout).bfloat16()
    with torch.no_grad():
        for parameter, half in zip(model.parameters(), halved.parameters(), strict=True):
            parameter.copy_(half)
        with torch.autocast("cpu", torch.bfloat16):
            loss, _ = model(PACKED)
        other, _ = halved(PACKED)
    assert float(loss.detach()) == pytest.approx(float(other), rel=2e-3)


@by_layout
def test_recomputed_layers_give_the_same_gradients(layout: str) -> None:
    gradients = []
    for recompute in (False, True):
        model = draw_model(layout)
        if recompute:
            model.checkpoint_activations()
        model(PACKED)[0].backward()
        gradients.append([parameter.grad for parameter in model.parameters()])
    for ours, theirs in zip(*gradients, strict=True):
        assert ours is not None
        assert torch.equal(ours, theirs)


def test_rows_longer_than_positions_are_refused() -> None:
    with pytest.raises(PretrainingError, match="rows of 41 tokens: the model has positions for 40"):
        draw_model("xlmr")(pack([draw_documents([41])], 41))


def test_xlmr_positions_count_from_the_padding_index() -> None:
    model = draw_model("xlmr", pad_id=7)
    assert model.positions is not None
    assert model.positions.shape[0] == 40 + 8
    model(pack([draw_documents([40])], 40, pad=7))[0].backward()
    assert model.positions.grad is not None
    used = model.positions.grad.any(1)
    assert used[8:].all()
    assert not used[:8].any()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # the compiler's own
@by_layout
def test_compiled_layers_compute_the_same(layout: str) -> None:
    model = draw_model(layout)
    expected, _ = model(PACKED)
    reason = compile_layers(model)
    if reason is not None:
        pytest.skip(reason)
    loss, _ = model(PACKED)
    loss.backward()
    assert float(loss.detach()) == pytest.approx(float(expected.detach()), rel=1e-5)


def test_without_a_compiler_the_reason_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    model = draw_model("xlmr")
    assert "no compiler (g++, clang++)" in str(compile_layers(model))
    assert all(layer.compiled is None for layer in model.blocks)
