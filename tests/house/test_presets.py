"""Every shipped configuration validates, and says first what it is for."""

from pathlib import Path

import pytest

from vocabkit.configurations.settings import read_configuration
from vocabkit.core.config import Preset, _presets_folder, list_presets, load_config
from vocabkit.core.languages import load_panel
from vocabkit.pretraining.run_config import RunConfig

PRESETS = list_presets()


def names(preset: Preset) -> str:
    return preset.name


def test_presets_come_from_this_tree() -> None:
    assert _presets_folder() == Path(__file__).resolve().parents[2] / "configs"
    assert {"fit/balanced-250k", "fit/shared-250k", "panels/panel-40", "pretrain/tiny"} <= {
        p.name for p in PRESETS
    }


@pytest.mark.parametrize("preset", PRESETS, ids=names)
def test_a_preset_validates(preset: Preset) -> None:
    kind = preset.name.split("/")[0]
    if kind == "panels":
        assert load_panel(preset.path).languages
    elif kind == "fit":
        read_configuration(preset.path)
    elif kind == "pretrain":
        load_config(RunConfig, preset.path)
    else:
        pytest.fail(f"no model for presets of kind {kind}: add it here")


@pytest.mark.parametrize("preset", PRESETS, ids=names)
def test_a_preset_opens_with_a_comment(preset: Preset) -> None:
    assert preset.path.read_text(encoding="utf-8").startswith("# ")
    assert preset.title
