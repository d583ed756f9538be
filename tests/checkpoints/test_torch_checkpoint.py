"""PyTorch's own files: nested state dicts, prefixes, shared storage, an untied head with a bias; and undo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.extension.tiny_models import ADDED, OLD, write_model, write_tokenizer
from vocabkit.core.errors import CheckpointError
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.plan import plan_extension
from vocabkit.extension.undo import undo_extension
from vocabkit.extension.verify import verify_extension

torch = pytest.importorskip("torch")

ROWS, NEW = len(OLD), len(OLD) + len(ADDED)


def write_plain(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(content, path)
    return path


def load(path: Path) -> Any:
    return torch.load(path, weights_only=True)


def tokenizers(folder: Path) -> tuple[Path, Path]:
    return write_tokenizer(folder / "old"), write_tokenizer(folder / "new", (*OLD, *ADDED))


def list_failed(folder: Path) -> list[str]:
    return [c.detail for c in verify_extension(folder, reload=False) if c.state == "failed"]


def test_a_plain_state_dict_with_an_untied_biased_head(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tensors = {
        "enc_emb": torch.randn(29, 6),
        "dec_emb": torch.randn(ROWS, 6),
        "dec_w_hh": torch.randn(18, 6),
        "fc_w": torch.randn(ROWS, 6),
        "fc_b": torch.randn(ROWS),
    }
    model = write_plain(tmp_path / "m" / "model.pt", tensors)
    old, new = tokenizers(tmp_path)
    with pytest.raises(CheckpointError, match="says nothing of its tokenizer"):
        plan_extension(model, new)
    done = extend_checkpoint(model, new, tmp_path / "o", old_tokenizer=old)
    roles = {item.tensor.name: item.role for item in done.plan.found.found}
    assert roles == {"dec_emb": "input", "fc_w": "output", "fc_b": "bias"}
    made = load(tmp_path / "o" / "model.pt")
    for name, tensor in tensors.items():
        assert torch.equal(made[name][: len(tensor)], tensor)
    assert made["fc_b"].shape == (NEW,)
    np.testing.assert_allclose(made["fc_b"][ROWS:], tensors["fc_b"][5:].mean(), rtol=1e-5)
    assert list_failed(tmp_path / "o") == []
    undone = undo_extension(tmp_path / "o", tmp_path / "u")
    assert all("serialised anew" in reason for reason in undone.differing.values())
    back = load(tmp_path / "u" / "model.pt")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in tensors.items())


def test_a_nested_file_keeps_all_else_and_what_is_shared(tmp_path: Path) -> None:
    rows = torch.randn(ROWS, 4)
    content = {
        "epoch": 3,
        "optimizer": {"state": {"step": torch.tensor(5)}},
        "model": {"module.wte.weight": rows, "module.lm_head.weight": rows},
    }
    model = write_plain(tmp_path / "m" / "last.pt", content)
    old, new = tokenizers(tmp_path)
    done = extend_checkpoint(model, new, tmp_path / "o", old_tokenizer=old)
    assert any("optimiser" in text for text in done.plan.warnings)
    made = load(tmp_path / "o" / "last.pt")
    assert made["epoch"] == 3
    first, second = made["model"].values()
    assert first.data_ptr() == second.data_ptr()
    assert torch.equal(first[:ROWS], rows)
    assert first.shape == (NEW, 4)


def test_a_transposed_head_grows_sideways(tmp_path: Path) -> None:
    tensors = {"embedding.weight": torch.randn(ROWS, 4), "head.weight": torch.randn(4, ROWS)}
    model = write_plain(tmp_path / "m" / "model.pt", tensors)
    old, new = tokenizers(tmp_path)
    extend_checkpoint(model, new, tmp_path / "o", old_tokenizer=old, init_output="zero")
    made = load(tmp_path / "o" / "model.pt")["head.weight"]
    assert made.shape == (4, NEW)
    assert torch.equal(made[:, :ROWS], tensors["head.weight"])
    assert not made[:, ROWS:].any()


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16])
def test_a_bin_folder_in_half_precision(tmp_path: Path, kind: Any) -> None:
    write_model(tmp_path / "m")
    (tmp_path / "m" / "model.safetensors").unlink()
    tensors = {
        "model.embed_tokens.weight": torch.randn(ROWS, 8).to(kind),
        "lm_head.weight": torch.randn(ROWS, 8).to(kind),
        "model.norm.weight": torch.ones(8).to(kind),
    }
    write_plain(tmp_path / "m" / "pytorch_model.bin", tensors)
    _, new = tokenizers(tmp_path)
    extend_checkpoint(tmp_path / "m", new, tmp_path / "o")
    made = load(tmp_path / "o" / "pytorch_model.bin")
    assert made["lm_head.weight"].dtype == kind
    assert torch.equal(made["lm_head.weight"][:ROWS], tensors["lm_head.weight"])
    assert json.loads((tmp_path / "o" / "config.json").read_text())["vocab_size"] == NEW
    assert list_failed(tmp_path / "o") == []


class Trap:
    """An object that a pickle could run code with."""


def test_a_file_with_code_in_it_is_refused(tmp_path: Path) -> None:
    model = write_plain(tmp_path / "m" / "model.pt", {"a": Trap()})
    old, new = tokenizers(tmp_path)
    with pytest.raises(CheckpointError, match="not a PyTorch file of weights alone"):
        extend_checkpoint(model, new, tmp_path / "o", old_tokenizer=old)
    assert not (tmp_path / "o").exists()
