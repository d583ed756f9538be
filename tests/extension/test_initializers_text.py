"""Rows and biases learnt from text: alignment by co-segmentation, distillation, and bias rules."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extension.vocabularies import (
    LINES,
    draw_rows,
    make_unigram,
    plan_between,
    plan_byte_level,
    train_byte_level,
)
from vocabkit.core.errors import ConfigError
from vocabkit.extension.initializers import initialize
from vocabkit.extension.rows import Context, RowPlan, list_new
from vocabkit.extension.simple_rows import BIAS_METHODS, _spell_new, initialize_bias
from vocabkit.extension.space_rows import cut_lines

Case = tuple[RowPlan, Context]
SPACE = "\u2581"


@pytest.fixture(scope="module")
def case(tmp_path_factory: pytest.TempPathFactory) -> Case:
    return plan_byte_level(tmp_path_factory.mktemp("tokenizers"))


def test_alignment_by_hand(tmp_path: Path) -> None:
    letters = [SPACE, "a", "b", "c"]
    old = make_unigram([*letters, "ab", f"{SPACE}a"])
    new = make_unigram([*letters, "ab", f"{SPACE}a", "abc"])
    plan, context = plan_between(old, new, tmp_path)
    context = replace(context, lines=("aabc", "babc", "c"))
    made = initialize("alignment", plan, draw_rows(plan.old_size), context)
    assert made.sources is not None
    ids, weights = made.sources.to_list()[0]
    texts = [context.old_tokenizer.token_bytes(int(index)) for index in ids]
    assert dict(zip(texts, weights.tolist(), strict=True)) == pytest.approx({b"ab": 2 / 3, b"c": 1 / 3})
    assert "3 of 3 lines" in made.note


def test_alignment_shares_add_up_and_a_token_never_seen_is_spelled(case: Case) -> None:
    plan, context = case
    rows = draw_rows(plan.old_size)
    made = initialize("alignment", plan, rows, replace(context, lines=LINES[:1]))
    assert made.sources is not None
    for _, weights in made.sources.to_list():
        assert weights.sum() == pytest.approx(1)
    assert "by subword-mean" in made.note
    with pytest.raises(ConfigError, match="needs text"):
        initialize("alignment", plan, rows, replace(context, lines=()))


def test_alignment_of_a_tokenizer_with_itself_is_the_identity(tmp_path: Path) -> None:
    backend = train_byte_level(LINES, 300)
    plan, context = plan_between(backend, backend, tmp_path)
    kept = plan.kept.copy()
    kept[260:] = -1  # made again, although the old tokenizer has them
    rows = draw_rows(plan.old_size)
    made = initialize("alignment", replace(plan, kept=kept), rows, context)
    np.testing.assert_array_equal(made.values, rows[260:])


def test_cuts_meet_though_one_puts_a_space_first(tmp_path: Path) -> None:
    letters = [chr(code) for code in range(97, 123)]
    plan, context = plan_between(
        train_byte_level(LINES, 300), make_unigram([SPACE, *letters, f"{SPACE}cat"]), tmp_path
    )
    assert context.new_tokenizer is not None
    lines = ["cat cat", "cat € cat"]
    tokenizers = context.old_tokenizer, context.new_tokenizer
    found = list(cut_lines(lines, *tokenizers, plan))
    assert [cuts.line for cuts in found] == [0]  # the other line loses a letter
    assert found[0].text == b" cat cat"
    assert found[0].old_stops[-1] == found[0].new_stops[-1] == 8
    assert found[0].new_stops.tolist() == [4, 8]


def test_bias_rules(case: Case) -> None:
    plan, context = case
    bias = np.random.default_rng(0).standard_normal(plan.old_size) - 3
    bias[~plan.old_used] = 50  # specials, which no rule may follow
    used = bias[plan.old_used]
    amount = len(list_new(plan))
    made = {rule: initialize_bias(rule, plan, bias.astype(np.float32), context) for rule in BIAS_METHODS}
    assert all(found.shape == (amount,) for found in made.values())
    np.testing.assert_allclose(made["mean"], used.mean(), rtol=1e-5)
    np.testing.assert_allclose(made["minimum"], used.min(), rtol=1e-5)
    np.testing.assert_allclose(made["quantile"], np.quantile(used, 0.05), rtol=1e-5)
    assert not made["zero"].any()
    first = [bias[ids[0]] for ids in _spell_new(plan, context)]
    np.testing.assert_allclose(made["first"], first, rtol=1e-5)
    heads = np.array([ids[0] for ids in _spell_new(plan, context)])
    assert len(set(heads.tolist())) < len(heads)
    for head in set(heads.tolist()):
        # Copies of one row with these biases have m / (m + 1) of its probability together.
        shared, m = np.exp(made["first-shared"][heads == head]).sum(), (heads == head).sum()
        assert shared == pytest.approx(np.exp(bias[head]) * m / (m + 1), rel=1e-4)
    with pytest.raises(ConfigError, match="'median'"):
        initialize_bias("median", plan, bias, context)


def test_log_prior_follows_the_counts(case: Case) -> None:
    plan, context = case
    assert context.new_tokenizer is not None
    texts = list(LINES)
    counts = np.bincount(context.old_tokenizer.encode_flat(texts)[0], minlength=plan.old_size)
    bias = (0.5 * np.log(counts + 1) - 4).astype(np.float32)
    found = initialize_bias("log-prior", plan, bias, context)
    after = np.bincount(context.new_tokenizer.encode_flat(texts)[0], minlength=plan.new_size)
    np.testing.assert_allclose(found, 0.5 * np.log(after[list_new(plan)] + 1) - 4, atol=1e-4)
    with pytest.raises(ConfigError, match="log-prior needs text"):
        initialize_bias("log-prior", plan, bias, replace(context, lines=()))


def save_llama(folder: Path, size: int, tied: bool = True) -> Any:
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=size, hidden_size=16, intermediate_size=32, num_hidden_layers=2,
        num_attention_heads=2, num_key_value_heads=2, bos_token_id=0, eos_token_id=1,
        initializer_range=0.5, tie_word_embeddings=tied,
    )  # fmt: skip
    model = transformers.LlamaForCausalLM(config)
    model.save_pretrained(folder)
    return model


@pytest.mark.parametrize("role", ["input", "output", "tied"])
def test_distillation_lowers_its_loss(role: Any, case: Case, tmp_path: Path) -> None:
    plan, context = case
    save_llama(tmp_path / "model", plan.old_size, role == "tied")
    rows = draw_rows(plan.old_size)
    context = replace(context, model=tmp_path / "model", role=role)
    made = initialize("distill:steps=8,batch=4,rate=0.3", plan, rows, context)
    first, last = (float(part) for part in made.note.split("loss ")[1].split(" to "))
    assert last < 0.9 * first
    again = initialize("distill:steps=8,batch=4,rate=0.3", plan, rows, context)
    np.testing.assert_allclose(made.values, again.values, atol=1e-5)


def test_distillation_leaves_a_token_that_is_an_old_one(tmp_path: Path) -> None:
    backend = train_byte_level(LINES, 300)
    plan, context = plan_between(backend, backend, tmp_path)
    model = save_llama(tmp_path / "model", plan.old_size)
    kept = plan.kept.copy()
    kept[280:] = -1  # each is spelled by one old token: itself
    plan = replace(plan, kept=kept)
    rows = model.get_input_embeddings().weight.detach().numpy()
    context = replace(context, model=tmp_path / "model")
    made = initialize("distill:steps=3,batch=2", plan, rows, context)
    np.testing.assert_allclose(made.values, rows[280:], atol=1e-4)
    assert "loss 0 to 0" in made.note or float(made.note.split(" to ")[-1]) < 1e-6
