"""The examples of docs/python.md run, in order, and name every verb."""

import inspect
import re
from pathlib import Path

import pytest

import vocabkit

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)


def list_verbs() -> list[str]:
    from vocabkit import verbs

    functions = {name for name, item in vars(verbs).items() if inspect.isfunction(item)}
    return sorted(functions & set(vocabkit.__all__))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_examples_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("transformers")
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for number, block in enumerate(BLOCKS):
        exec(compile(block, f"docs/python.md, block {number}", "exec"), names)
    assert (tmp_path / "hf" / "model.safetensors").is_file()


def test_every_verb_has_an_example_and_its_command_beside_it() -> None:
    code = "\n".join(BLOCKS)
    commands = "\n".join(re.findall(r"^```bash\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    verbs = [name for name in list_verbs() if not name.startswith("open_")]
    assert len(verbs) >= 16
    for name in verbs:
        assert f"vk.{name}(" in code, name
        assert f"vocabkit {name.replace('_', '-')} " in commands, name
