"""`vocabkit pretrain` as it is typed, over shards made of real text by the commands before it."""

from __future__ import annotations

import json
import os
import random
import re
import shlex
import signal
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from cli import app
from vocabkit.configurations.tokenizer_folder import fit_vocabulary
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.sources import open_corpus
from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus
from vocabkit.pretraining.run_folder import Run
from vocabkit.pretraining.run_start import pretrain

ROOT = Path(__file__).resolve().parents[2]
SYLLABLES = {
    "eng_Latn": ["the", "re", "so", "lu", "tion", "work", "er", "ing"],
    "yor_Latn": ["ẹ̀", "kọ́", "ilé", "àá", "rọ̀", "gbo", "ṣe", "wa"],
}
TINY = (
    "--set", "training.steps=6", "--set", "training.batch_rows=4", "--set", "log.every=2",
    "--set", "log.evaluate_every=3", "--set", "model.width=16", "--set", "model.feed_forward=32",
)  # fmt: skip


def vocabkit(*words: object, code: int = 0) -> tuple[str, str]:
    result = CliRunner().invoke(app, [str(word) for word in words])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def rows_of(stdout: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = json.loads(stdout)["rows"]
    return rows


def read_losses(run: Path) -> list[float]:
    lines = (run / "log.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line).get("loss") for line in lines]
    return [loss for loss in found if loss is not None]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pretrain")
    chance = random.Random(0)
    (folder / "corpus").mkdir()
    for code, syllables in SYLLABLES.items():
        words = ["".join(chance.choices(syllables, k=chance.randint(1, 3))) for _ in range(2_400)]
        lines = [" ".join(words[place : place + 8]) for place in range(0, len(words), 8)]
        (folder / "corpus" / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    corpus = open_corpus(folder / "corpus")
    count_corpus(corpus, folder / "counts", CountOptions(workers=1))
    fit_vocabulary("shared-250k", folder / "counts", folder / "tok", settings=["vocabulary.size=200"])
    options = PrepareOptions(length=32, held_out=0.1, workers=1)
    prepare_corpus(corpus, folder / "tok", folder / "shards", options)
    return folder


def test_a_dry_run_needs_no_data(tmp_path: Path) -> None:
    out, _ = vocabkit(
        "pretrain", "multi-s", "--dry-run", "-f", "json", "-o", tmp_path / "run"
    )  # fmt: skip
    rows = {(row["part"], row["name"]): row["value"] for row in rows_of(out)}
    assert rows["parameters", "total"] == 278_330_560
    assert rows["FLOPs a token", "total"] == pytest.approx(0.740e9, rel=1e-3)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_says_what_is_missing() -> None:
    _, err = vocabkit("pretrain", "tiny", "--dry-run", code=2)
    assert "--set model.vocabulary" in err
    _, err = vocabkit("pretrain", "continue", "--dry-run", code=2)
    assert "--checkpoint" in err


def test_a_dry_run_over_data_tells_epochs_by_language(work: Path) -> None:
    words = ("pretrain", "tiny", "--data", work / "shards", "--dry-run", "-f", "json", *TINY)
    out, _ = vocabkit(*words, "--allow-epochs", 1_000)
    epochs = {str(row["name"]): row["value"] for row in rows_of(out) if row["part"] == "epochs"}
    assert sorted(epochs) == sorted(SYLLABLES)
    assert sum(float(str(value)) for value in epochs.values()) > 0
    shapes = [row["note"] for row in rows_of(out) if row["name"] == "body"]
    assert "200 ids" in str(shapes[0])  # the data's, whatever a preset proposes


def test_too_many_epochs_are_refused_until_allowed(work: Path, tmp_path: Path) -> None:
    words = (
        "pretrain", "tiny", "--data", work / "shards", "-o", tmp_path / "run", *TINY,
        "--set", "training.steps=2_000", "--set", "languages.allow_epochs=8",
    )  # fmt: skip
    _, err = vocabkit(*words, code=2)
    assert "yor_Latn" in err
    assert "--allow-epochs" in err
    assert not (tmp_path / "run").exists()
    _, err = vocabkit(*words, "--dry-run", code=0)
    assert "warning: repeated more than 4 times" in err


def test_a_run_and_what_the_same_command_does_again(work: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("pretrain", "tiny", "--data", work / "shards", "-o", run, "-f", "json", *TINY)
    out, err = vocabkit(*words)
    rows = rows_of(out)
    gains = [float(str(row["gained"])) for row in rows]
    assert sorted(str(row["language"]) for row in rows) == sorted(SYLLABLES)
    assert gains == sorted(gains, reverse=True)
    assert [str(row["note"]).split(",")[0] for row in rows] == ["gained most", "gained least"]
    assert all(float(str(row["loss"])) > 0 and row["bits_per_byte"] is None for row in rows)
    assert gains == [float(str(row["loss_before"])) - float(str(row["loss"])) for row in rows]
    assert "nats a masked token before" in err
    table = [line.split()[0] for line in err.splitlines()]
    assert table[:3] == ["language", *sorted(SYLLABLES)]  # before anything was trained
    assert "same vocabulary" in err
    assert "never seen" in err
    assert f"vocabkit export {run}" in err
    kinds = [json.loads(line)["kind"] for line in (run / "log.jsonl").read_text().splitlines()]
    assert kinds.count("evaluation") == 3
    assert (run / "dead-vocabulary.json").is_file()
    before = {path: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    again, _ = vocabkit(*words)
    assert rows_of(again) == rows
    assert {path: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before
    _, err = vocabkit(*words, "--set", "optimizer.rate=0.5", code=2)
    assert "optimizer.rate" in err
    assert "--force" in err
    vocabkit(*words, "--set", "optimizer.rate=0.5", "--force")


def test_the_earlier_run_is_a_preset(work: Path, tmp_path: Path) -> None:
    vocabkit("pretrain", "tiny", "--data", work / "shards", "-o", tmp_path / "a", *TINY, "-q")
    vocabkit("pretrain", tmp_path / "a", "--data", work / "shards", "-o", tmp_path / "b", "-q")
    same = [(tmp_path / name / "config.toml").read_bytes() for name in ("a", "b")]
    assert same[0] == same[1]


def test_what_a_user_gets_wrong_is_said_in_a_line(work: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    _, err = vocabkit("pretrain", "tiny", code=2)
    assert "--data and --output" in err
    _, err = vocabkit("pretrain", "tiny", "--data", tmp_path, "-o", run, code=2)
    assert "vocabkit prepare" in err
    _, err = vocabkit("pretrain", "tny", "--data", work / "shards", "-o", run, code=2)
    assert "tiny" in err
    _, err = vocabkit(
        "pretrain", "tiny", "--data", work / "shards", "-o", run, "--checkpoint", tmp_path, code=2
    )
    assert str(tmp_path) in err
    assert "Traceback" not in err
    assert not run.exists()


def test_only_the_first_rank_speaks(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    out, err = vocabkit("pretrain", "tiny", "--data", work / "shards", "--dry-run", *TINY)
    assert (out, err) == ("", "")


@pytest.mark.slow
def test_two_processes_under_torchrun(work: Path, tmp_path: Path) -> None:
    command = [
        sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
        "-m", "vocabkit", "pretrain", "tiny", "--data", work / "shards", "-o", tmp_path / "run",
        "-f", "json", *TINY,
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        list(map(str, command)), cwd=ROOT, env=environment, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(str(row["language"]) for row in rows_of(done.stdout)) == sorted(SYLLABLES)
    vocabkit("pretrain", "tiny", "--data", work / "shards", "-o", tmp_path / "alone", *TINY)
    found, alone = (read_losses(tmp_path / name) for name in ("run", "alone"))
    assert len(found) == 6  # three lines and three evaluations
    assert found == pytest.approx(alone, rel=1e-5)


def run_without_torch(*words: object) -> subprocess.CompletedProcess[str]:
    program = "import sys; sys.modules['torch'] = None; from cli import app; app()"
    return subprocess.run(
        [sys.executable, "-c", program, *map(str, words)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_plan_needs_no_torch_and_training_says_what_to_install(work: Path, tmp_path: Path) -> None:
    words = ("pretrain", "tiny", "--data", work / "shards", *TINY)
    planned = run_without_torch(*words, "--dry-run")
    assert planned.returncode == 0, planned.stderr
    assert "yor_Latn" in planned.stdout
    done = run_without_torch(*words, "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "pip install 'vocabkit[torch]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_dry_run_says_what_would_be_refused(work: Path) -> None:
    words = ("pretrain", "tiny", "--data", work / "shards", "--dry-run", *TINY)
    _, said = vocabkit(*words, "--set", "training.steps=2_000", "--set", "languages.allow_epochs=8")
    assert "training would be refused" in said
    assert "--allow-epochs" in said
    _, said = vocabkit(*words)
    assert "refused" not in said
    _, said = vocabkit(*words, "--set", "model.vocabulary=100", code=2)
    assert "a model of 100 ids and data of 200" in said


def test_a_log_tells_of_the_run_and_its_curve_is_drawn(work: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    words = ("pretrain", "tiny", "--data", work / "shards", *TINY, "-o")
    _, err = vocabkit(*words, tmp_path / "run")
    told = re.findall(r"^training: (\d) of 6 steps, loss (\d\.\d{3}), [\d,]+ tokens/s, \d+ s left$", err, re.M)
    losses = read_losses(tmp_path / "run")
    logged = map(json.loads, (tmp_path / "run/log.jsonl").read_text(encoding="utf-8").splitlines())
    expected = [(str(row["step"]), f"{row['loss']:.3f}") for row in logged if row["kind"] == "step"]
    assert told == expected
    assert len(losses) > len(told) == 3
    ElementTree.parse(tmp_path / "run/curve.svg")
    _, err = vocabkit(*words, tmp_path / "quiet", "-q")
    assert err == ""


def test_a_stopped_run_says_what_it_did_and_where_it_goes_on(work: Path, tmp_path: Path) -> None:
    class Stopping:
        """Sends the signal that a scheduler sends, after the third step."""

        done = 0

        def start(self, label: str, total: int | None = None, unit: str = "") -> None: ...

        def advance(self, amount: int) -> None:
            self.done += amount
            if self.done == 3:
                os.kill(os.getpid(), signal.SIGTERM)

        def finish(self) -> None: ...

    run = tmp_path / "run"
    settings = [*(word for word in TINY if word != "--set"), "log.evaluate_every=0"]
    found = pretrain("tiny", work / "shards", run, settings=settings, progress=Stopping())
    assert isinstance(found, Run)
    assert (found.stopped, found.steps) == ("signal", 3)
    rows = found.to_rows()
    assert [row["language"] for row in rows] == ["eng_Latn", "yor_Latn"]
    assert sum(int(str(row["rows_read"])) for row in rows) == found.samples == 12
    assert all(int(str(row["bytes_read"])) > int(str(row["tokens_read"])) > 0 for row in rows)
    assert Run.load(run).to_rows() == rows
    scored = pretrain(
        "tiny", work / "shards", tmp_path / "scored", progress=Stopping(),
        settings=[*settings[:-1], "log.evaluate_every=2"],
    )  # fmt: skip
    assert isinstance(scored, Run)
    # Those of the plan are of six steps, and three were done.
    assert [(row["epochs"], row["gained"] is None) for row in scored.to_rows()] == [(None, False)] * 2
    _, err = vocabkit("pretrain", run, "--data", work / "shards", "-o", run)
    assert "training: 3 of 6 steps, resumed at step 3\n" in err


@pytest.mark.parametrize("preset", ["cosine", "stages"])
def test_a_run_that_cannot_be_longer_says_how_its_model_goes_on(
    work: Path, tmp_path: Path, preset: str
) -> None:
    """In two commands, pasted as they are printed."""
    how = {
        "cosine": ["--set", "optimizer.schedule=cosine"],
        "stages": ["--set", "stages=[{train='embeddings',share=0.5},{train='all',share=0.5}]"],
    }[preset]
    run = tmp_path / "a run"
    words = ("pretrain", "tiny", "--data", work / "shards", "-o", run, *TINY, *how)
    vocabkit(*words, "-q")
    _, err = vocabkit(*words, "--set", "training.steps=9", code=2)
    assert "constant" in err or "stages are shares" in err
    hint = shlex.split(err.split("hint: ")[1], comments=True)
    cut = hint.index("&&")
    for command in (hint[:cut], hint[cut + 1 :]):
        assert command[0] == "vocabkit"
        vocabkit(*command[1:], "-q")
    assert Run.load(f"{run}-2").steps == 6
    assert Run.load(f"{run}-2").skipped == 0


def test_a_finished_run_is_made_longer_and_says_from_where(work: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    words = ("pretrain", "tiny", "--data", work / "shards", "-o", run, *TINY, "--set", "training.steps=10")
    vocabkit(*words, "-q")
    longer = (*words, "--set", "training.steps=20")
    _, err = vocabkit(*longer, "--dry-run", "-q")
    assert Run.load(run).steps == 10
    out, err = vocabkit(*longer, "-f", "json")
    # Two of ten steps fall: the first of them has the whole rate yet.
    assert "a run of 10 steps becomes one of 20, from step 9 on, before its rate fell" in err
    assert "its warm-up stays as it was: optimizer.warmup=0.05 of 20 steps" in err
    assert "training: 9 of 20 steps, resumed at step 9" in err
    assert Run.load(run).steps == 20
    vocabkit("export", run, "--step", "10", "-o", tmp_path / "ten", "-q")
    assert (tmp_path / "ten" / "model.safetensors").is_file()
    again, _ = vocabkit(*longer, "-f", "json")
    assert again == out


def test_how_to_sample_is_kept_and_files_have_the_rights_of_the_umask(work: Path, tmp_path: Path) -> None:
    data = ("--data", work / "shards", "-q")
    vocabkit("pretrain", "tiny", *data, *TINY, "-o", tmp_path / "run")
    vocabkit("export", tmp_path / "run", "-o", tmp_path / "hf", "-q")
    kept = '{"max_new_tokens": 7}\n'
    (tmp_path / "hf/generation_config.json").write_text(kept, encoding="utf-8")
    begun = TINY[: TINY.index("model.width=16") - 1]
    vocabkit("pretrain", "tiny", *data, *begun, "--checkpoint", tmp_path / "hf", "-o", tmp_path / "run2")
    vocabkit("export", tmp_path / "run2", "-o", tmp_path / "hf2", "-q")
    assert (tmp_path / "hf2/generation_config.json").read_text(encoding="utf-8") == kept
    mask = os.umask(0)
    os.umask(mask)
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.rglob("*") if path.is_file()}
    assert {name for name, mode in modes.items() if mode != 0o666 & ~mask} == set()
