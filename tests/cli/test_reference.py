"""Every command explains itself, and what is written about commands is what they are."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from typer.testing import CliRunner

from cli import app
from vocabkit.configurations.settings import CONFIGURATIONS
from vocabkit.core.config import list_keys, list_presets
from vocabkit.corpus.word_counts import WordCounts

ROOT = Path(__file__).resolve().parents[2]


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


reference = _load("cli_reference")
COMMANDS: list[tuple[str, Any]] = [(words, context.command) for words, context in reference.walk_commands()]
# The verbs: everything but the groups.
LEAVES = [(words, command) for words, command in COMMANDS if not hasattr(command, "commands")]


def verb(item: tuple[str, Any]) -> str:
    return item[0]


@pytest.mark.parametrize("item", LEAVES, ids=verb)
def test_help_begins_with_a_verb_and_ends_with_an_example(item: tuple[str, Any]) -> None:
    words, command = item
    lines = command.help.strip().splitlines()
    assert re.fullmatch(r"[A-Z][a-z]+ .*\.", lines[0]), lines[0]
    assert len(lines[0]) <= 66, "the list of commands would cut this sentence"
    assert lines[-1].strip().startswith(f"Example: {words}")


@pytest.mark.parametrize("item", COMMANDS, ids=verb)
def test_every_option_is_explained(item: tuple[str, Any]) -> None:
    for parameter in item[1].params:
        assert parameter.help, f"{item[0]} {parameter.name}"


@pytest.mark.parametrize("item", LEAVES, ids=verb)
def test_every_verb_has_a_page(item: tuple[str, Any]) -> None:
    name = item[0].split()[1]
    page = ROOT / "docs" / f"{name}.md"
    assert page.is_file()
    assert f"vocabkit {name}" in page.read_text(encoding="utf-8")


def test_every_page_is_in_the_navigation_and_back() -> None:
    text = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    listed = set(re.findall(r"[\w-]+\.md", text))
    assert listed == {path.name for path in (ROOT / "docs").glob("*.md")}


def test_the_reference_is_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    written = (ROOT / "docs" / "cli-reference.md").read_text(encoding="utf-8")
    assert written == reference.render_reference(), "run make reference"


def test_the_page_of_every_key_is_up_to_date() -> None:
    written = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
    assert written == reference.render_settings(), "run make reference"


def test_no_option_was_added_or_lost_unseen() -> None:
    written = (ROOT / "tests" / "golden" / "cli_options.txt").read_text(encoding="utf-8")
    assert written == reference.render_options(), "run make reference, and look at the difference"


def test_one_name_means_one_thing() -> None:
    # -o writes a folder, -f chooses a format, -q silences: nowhere anything else.
    letters = {"-o": "--output", "-f": "--format", "-q": "--quiet", "-h": "--help"}
    for words, command in COMMANDS:
        for parameter in command.params:
            for short in set(parameter.opts) & set(letters):
                assert letters[short] in parameter.opts, words


# --- Completion ------------------------------------------------------------------------------------


def complete(line: str) -> list[str]:
    """What bash is told of the last word of a line, which may be empty, asked as its script asks."""
    words = line.split(" ")
    told = {"_VOCABKIT_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    result = CliRunner().invoke(app, [], prog_name="vocabkit", env=told)
    assert (result.exit_code, result.stderr) == (0, "")
    return result.stdout.split()


def test_presets_are_offered_to_the_verbs_that_take_them() -> None:
    fits = [preset.name.split("/")[1] for preset in list_presets() if preset.name.startswith("fit/")]
    assert complete("vocabkit fit ") == fits
    assert complete("vocabkit fit two") == ["two-stage-250k-12x50k"]
    assert "tiny" in complete("vocabkit pretrain ")
    assert complete("vocabkit allocate --preset prop") == ["proportional-500k"]
    assert set(complete("vocabkit presets keys ")) == {preset.name.split("/")[1] for preset in list_presets()}
    assert complete("vocabkit count x --panel ") == ["panels/panel-40"]
    assert complete("vocabkit fit nothing-begins-so") == []


def test_keys_are_those_of_the_preset(tmp_path: Path) -> None:
    assert complete("vocabkit fit byte-bpe --set merging.m") == ["merging.method=", "merging.min_count="]
    assert complete("vocabkit fit shared-250k --set merging.m") == []
    assert complete("vocabkit pretrain tiny --set optimizer.w") == [
        "optimizer.weight_decay=",
        "optimizer.warmup=",
    ]
    assert "merging.method=" in complete("vocabkit fit absent --set merging.m")
    (tmp_path / "mine.toml").write_text('configuration = "byte-bpe"', encoding="utf-8")
    assert complete(f"vocabkit fit {tmp_path / 'mine.toml'} --set pre") == ["pre_tokens.pattern="]
    for key in complete("vocabkit fit two-stage-250k-12x50k --set "):
        assert key in {f"{one.key}=" for one in list_keys(CONFIGURATIONS["two-stage"])}


def test_languages_are_those_of_the_counts_or_of_flores(tmp_path: Path) -> None:
    assert complete("vocabkit count x --languages yor") == ["yor_Latn"]
    assert complete("vocabkit audit x --languages ibo_Latn,yo") == ["ibo_Latn,yor_Latn"]
    assert complete("vocabkit show x --route ha") == ["hat_Latn", "hau_Latn"]
    WordCounts.from_texts({"yor_Latn": ["a"], "xxx_Latn": ["b"]}).save(tmp_path / "counts")
    line = f"vocabkit fit shared-250k --counts {tmp_path / 'counts'} --languages "
    assert complete(line) == ["xxx_Latn", "yor_Latn"]
    assert complete(f"{line}yor_Latn,") == ["yor_Latn,xxx_Latn"]
    assert len(complete(line.replace("counts'", "absent'"))) >= 2


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_get_an_offer_a_line(shell: str) -> None:
    told = {
        "_VOCABKIT_COMPLETE": f"complete_{shell}", "_TYPER_COMPLETE_FISH_ACTION": "get-args",
        "_TYPER_COMPLETE_ARGS": "vocabkit fit shared-250k --set vocabulary.digits=",
    }  # fmt: skip
    result = CliRunner().invoke(app, [], prog_name="vocabkit", env=told)
    found = re.findall(r"vocabulary\.digits=(\w+)", result.stdout)
    assert found == ["sentencepiece", "single", "groups"]
    told["_TYPER_COMPLETE_ARGS"] = "vocabkit fit "
    lines = CliRunner().invoke(app, [], prog_name="vocabkit", env=told).stdout.splitlines()
    assert len(lines) == sum(preset.name.startswith("fit/") for preset in list_presets())


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_by_the_script_it_is_given(tmp_path: Path) -> None:
    command = tmp_path / "vocabkit"
    command.write_text(f'#!/bin/sh\ncd {ROOT} && exec {sys.executable} -m cli "$@"\n', encoding="utf-8")
    command.chmod(0o755)
    script = (
        'eval "$(_VOCABKIT_COMPLETE=source_bash vocabkit)"; COMP_WORDS=(vocabkit fit shar); COMP_CWORD=2; '
        '_vocabkit_completion vocabkit; echo "offered: ${COMPREPLY[*]}"; complete -p vocabkit'
    )
    told = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    words = ["bash", "--norc", "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, env=told, check=True)
    assert done.stdout.splitlines()[0] == "offered: shared-250k"
    assert "_vocabkit_completion" in done.stdout.splitlines()[1]
