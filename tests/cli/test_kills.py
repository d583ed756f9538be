"""A command killed at any moment leaves no half output, takes none away, and does no harm to the next."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="looks for orphans in /proc")

WORDS = {
    "eng_Latn": "the dog sat on a mat and saw the cat that ran from house to house in rain",
    "yor_Latn": "ajá náà jókòó lórí ẹní ó sì rí ológbò tí ń sáré láti ilé dé ilé nínú òjò",
}
COUNT = "count text -o counts --workers 1"
MORE = "count more -o more-counts --workers 1"
FIT = "fit shared-250k --counts counts -o {} --set vocabulary.size={}"


@dataclass(frozen=True)
class Verb:
    """One command, `out` its output; what goes before it, and a step that writes what the output held."""

    words: str
    steps: tuple[str, ...] = ()
    old: str | None = None
    imports: tuple[str, ...] = ("vocabkit.corpus.counting",)
    goes_on: bool = False


FITTED = (COUNT, FIT.format("tok", 66))
TINY = (
    "model.layers=1 model.width=16 model.heads=2 model.feed_forward=32 training.steps=4 training.batch_rows=4 "
    "training.micro_rows=4 training.precision='fp32' training.compile=false log.evaluate_every=0 save.every=1 "
    "languages.allow_epochs=1000"
)
PRETRAIN = "pretrain tiny --data shards -o {} " + " ".join(f"--set {setting}" for setting in TINY.split())
PREPARED = (*FITTED, "prepare text --tokenizer tok -o shards --length 64 --workers 1")
EXTENDED = (*FITTED, FIT.format("big", 72), "model tok")
VERBS = {
    "count": Verb("count text -o out --workers 2"),
    "count-force": Verb("count text -o out --workers 1 --force", (MORE,), "more-counts"),
    "count-update": Verb("count both -o out --workers 1 --update", (COUNT,), "counts"),
    "count-list": Verb("count --from-frequencies list.tsv --language eng -o out"),
    "merge": Verb("merge counts more-counts -o out --force", (COUNT, MORE), "counts"),
    "fit": Verb(
        FIT.format("out", 62) + " --force", FITTED, "tok", ("vocabkit.configurations.tokenizer_folder",)
    ),
    "allocate": Verb(
        "allocate --counts counts --budget 60 -o out",
        (COUNT, "allocate --counts counts --budget 60 -o warm"), None, ("vocabkit.configurations.allocating",)
    ),
    "audit": Verb(
        "audit tok --corpus text -o out --workers 2 --force", (*FITTED, "audit tok --counts counts -o old"),
        "old", ("vocabkit.auditing.auditing",),
    ),
    "extend": Verb(
        "extend model big -o out --force", (*EXTENDED, "extend model big -o old --init-input zero"), "old",
        ("vocabkit.extension.extend",),
    ),
    "undo": Verb(
        "undo extended -o out", (*EXTENDED, "extend model big -o extended"), None, ("vocabkit.extension.undo",)
    ),
    "prepare": Verb(
        "prepare text --tokenizer tok -o out --length 64 --workers 2 --force",
        (*FITTED, "prepare more --tokenizer tok -o old --length 64 --workers 1"), "old",
        ("vocabkit.pretraining.preparing",),
    ),
    "pretrain": Verb(
        PRETRAIN.format("out"), PREPARED, None, ("torch", "vocabkit.pretraining.loop"), goes_on=True
    ),
    "export": Verb(
        "export run -o out --force", (*PREPARED, PRETRAIN.format("run"), "export run -o old --step 3"), "old",
        ("torch", "vocabkit.pretraining.exporting"),
    ),
    "verify": Verb(
        "verify extended", (*EXTENDED, "extend model big -o extended"), None,
        ("transformers.models.xlm_roberta.modeling_xlm_roberta", "vocabkit.extension.verify"),
    ),
    "presets": Verb("presets copy shared-250k out"),
    "sample": Verb("sample out", ("sample warm",), None, ("vocabkit.corpus.sample",)),
}  # fmt: skip


def write_inputs(folder: Path) -> None:
    for number, name in enumerate(("text", "more")):
        for code, words in WORDS.items():
            (folder / name / code).mkdir(parents=True)
            for part in range(2):
                lines = [words[i % 7 * (number + 1) :] for i in range(40 + part)]
                (folder / name / code / f"{name}-{part}.txt").write_text("\n".join(lines), encoding="utf-8")
    (folder / "both").mkdir()
    for code in WORDS:
        (folder / "both" / code).mkdir()
        for path in [*(folder / "text" / code).iterdir(), *(folder / "more" / code).iterdir()]:
            (folder / "both" / code / path.name).symlink_to(path)
    (folder / "list.tsv").write_text("the\t7\ndog\t3\n", encoding="utf-8")


def try_verb(name: str, folder: Path, points: int) -> list[str]:
    verb = VERBS[name]
    write_inputs(folder)
    task = {
        "folder": str(folder), "imports": verb.imports, "steps": [step.split() for step in verb.steps],
        "words": verb.words.split(), "output": "out", "points": points, "before": verb.old,
        "goes_on": verb.goes_on,
    }  # fmt: skip
    run = subprocess.run(
        [sys.executable, "-m", "tests.cli.kills", json.dumps(task)],
        cwd=ROOT, capture_output=True, text=True, check=False,
        env={**os.environ, "TMPDIR": str(folder), "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    assert run.returncode == 0, run.stderr + run.stdout
    found: list[str] = json.loads(run.stdout)
    return found


@pytest.mark.parametrize("name", ["count", "merge"])
def test_a_kill_loses_nothing(name: str, tmp_path: Path) -> None:
    assert try_verb(name, tmp_path, 4) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", VERBS)
def test_a_kill_at_any_point_loses_nothing(name: str, tmp_path: Path) -> None:
    assert try_verb(name, tmp_path, 20) == []
