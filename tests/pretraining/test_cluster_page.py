"""docs/cluster.md: its scripts parse, and train under a stand-in for SLURM; its table is the dry run's."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import typer

from cli import app
from tests.pretraining.tiny_runs import make_config, make_data, run_ranks, tensors, train
from vocabkit.core.config import dump_toml
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.pretraining.run_config import RunConfig
from vocabkit.pretraining.run_start import make_plan

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "cluster.md").read_text(encoding="utf-8")
SCRIPTS = re.findall(r"```bash\n(.*?)```", PAGE, re.S)
PRESETS = ("multi-s", "multi-m", "multi-l", "multi-l-plus")
DEVICES = ("h200", "h200:8", "h100:8", "a100-80gb:8", "a100-40gb:8")


def find_script(*said: str) -> str:
    found: list[str] = [text for text in SCRIPTS if all(part in text for part in said)]
    assert len(found) == 1
    return found[0]


def compute_rows() -> list[str]:
    """The rows of the table of presets and devices."""
    rows = []
    for preset in PRESETS:
        for device in DEVICES:
            plan = make_plan(preset, device=device, dry_run=True)
            (fits,) = [row for row in plan.to_rows() if row["name"] == "fits"]
            remedy = re.search(r"would fit: (?:--set training\.)?(.*)$", str(fits["note"]))
            assert plan.seconds is not None
            cells = [
                f"`{preset}`", f"{plan.parameters.total / 1e6:,.0f} M", f"`{device}`",
                f"{plan.memory.total / 1e9:.1f}", f"with `{remedy[1]}`" if remedy else "yes",
                f"{plan.seconds / 86400:.1f}",
            ]  # fmt: skip
            rows.append(f"| {' | '.join(cells)} |")
    return rows


def test_the_table_of_presets_is_what_a_dry_run_computes() -> None:
    written = [line for line in PAGE.splitlines() if line.startswith("| `multi-")]
    assert written == compute_rows()


def test_every_script_parses() -> None:
    jobs = [text for text in SCRIPTS if text.startswith("#!/bin/bash")]
    assert len(jobs) == 5
    for text in SCRIPTS:
        done = subprocess.run(["bash", "-n"], input=text, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stderr) == (0, ""), text


def find_commands() -> list[str]:
    """Every command of vocabkit on the page, in its scripts and in its sentences."""
    joined = "\n".join(SCRIPTS).replace("\\\n", " ").replace("$SLURM_CPUS_PER_TASK", "8")
    found = re.findall(r"(?:^|exec |-m )(vocabkit [^'&\n]*)", joined, re.M)
    return found + [text for text in re.findall(r"`(vocabkit [^`…]+)`", PAGE) if "PRESET" not in text]


def test_every_command_in_it_parses() -> None:
    commands = find_commands()
    assert len(commands) >= 6
    group: Any = typer.main.get_command(app)
    for command in commands:
        verb, *words = shlex.split(command)[1:]
        context = group.make_context("vocabkit", [verb, "--help"], resilient_parsing=True)
        group.get_command(context, verb).make_context(verb, words)


# --- A stand-in for SLURM --------------------------------------------------------------------------
# `srun` starts a task a node (or a GPU) as SLURM does, hands SIGTERM on, and ends with the largest code.

SRUN = r"""#!/bin/bash
echo $$ > "$STATE/srun.pid"
tasks=()
for number in $(seq 0 $((SLURM_NTASKS - 1))); do
    SLURM_PROCID=$number SLURM_LOCALID=0 "$@" &
    tasks+=($!)
done
trap 'kill -TERM "${tasks[@]}" 2>/dev/null' TERM
code=0
for task in "${tasks[@]}"; do
    while :; do
        wait "$task"; ended=$?
        kill -0 "$task" 2>/dev/null || break
    done
    [ "$ended" -gt "$code" ] && code=$ended
done
exit "$code"
"""
SCONTROL = r"""#!/bin/bash
case "$1 $2" in
    "show hostnames") echo 127.0.0.1 ;;
    requeue*) echo "$2" >> "$STATE/requeued" ;;
esac
"""


def make_slurm(folder: Path, **more: str) -> dict[str, str]:
    """The environment of a job: commands that stand in for SLURM's, and those of this Python."""
    programs = {
        "srun": SRUN,
        "scontrol": SCONTROL,
        "torchrun": f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m torch.distributed.run "$@"\n',
        "vocabkit": f'#!/bin/bash\nexec {shlex.quote(sys.executable)} -m vocabkit "$@"\n',
    }
    (folder / "bin").mkdir()
    for name, text in programs.items():
        (folder / "bin" / name).write_text(text, encoding="utf-8")
        (folder / "bin" / name).chmod(0o755)
    return {
        **os.environ, "PATH": f"{folder / 'bin'}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT),
        "STATE": str(folder), "OMP_NUM_THREADS": "1", "SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "here", **more,
    }  # fmt: skip


def find_port() -> str:
    import socket

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return str(free.getsockname()[1])


def run_job(script: str, folder: Path, environment: dict[str, str], stop_after: int | None) -> int:
    """Run a job; its steps get SIGTERM once the log has so many of the run's."""
    job = subprocess.Popen(
        ["bash", "-c", script], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    log = folder / "run" / "log.jsonl"
    try:
        while job.poll() is None:
            if stop_after is not None and log.is_file() and f'"step": {stop_after},' in log.read_text():
                os.kill(int((folder / "srun.pid").read_text()), signal.SIGTERM)
                stop_after = None
            time.sleep(0.02)
    finally:
        if job.returncode is None:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
    assert stop_after is None, "it ended before it was stopped"
    return job.returncode


def train_straight(folder: Path, config: RunConfig) -> None:
    train(config, folder / "data", folder / "straight")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("said", "codes"),
    [(("--nnodes",), (1, 0)), (("RANK=$SLURM_PROCID",), (143, 0))],
    ids=["torchrun-a-node", "task-a-gpu"],
)
def test_two_nodes_stop_are_requeued_and_go_on(
    tmp_path: Path, said: tuple[str, ...], codes: tuple[int, int]
) -> None:
    """Two processes stand for two nodes: what they end with is a run of two ranks left alone, to the bit."""
    make_data(tmp_path / "data")
    config = make_config(training={"steps": 150}, save={"every": 60})
    (tmp_path / "run.toml").write_text(dump_toml(config), encoding="utf-8")
    environment = make_slurm(
        tmp_path, SLURM_NTASKS="2", SLURM_JOB_NUM_NODES="2", SLURM_CPUS_PER_TASK="1", GPUS="1",
        PORT=find_port(), DATA=str(tmp_path / "data"), RUN=str(tmp_path / "run"),
        PRESET=str(tmp_path / "run.toml"),
    )  # fmt: skip
    script = find_script("#!/bin/bash", "--signal=TERM", *said)
    assert run_job(script, tmp_path, environment, 20) == codes[0]
    assert (tmp_path / "requeued").read_text() == "7\n"
    last = json.loads((tmp_path / "run" / "log.jsonl").read_text().splitlines()[-1])
    assert (last["kind"], last["why"]) == ("stopped", "signal")
    # A mistake is not queued again, although the run was stopped by a signal before it.
    elsewhere = {**environment, "DATA": str(tmp_path)}
    assert run_job(script, tmp_path, elsewhere, None) not in (0, 143)
    assert (tmp_path / "requeued").read_text() == "7\n"
    assert run_job(script, tmp_path, environment, None) == codes[1]
    assert (tmp_path / "requeued").read_text() == "7\n"
    run_ranks(2, train_straight, tmp_path, config)
    parts, whole = tensors(tmp_path / "run"), tensors(tmp_path / "straight")
    assert [name for name in whole if not torch.equal(whole[name], parts[name])] == []


@pytest.mark.slow
def test_an_array_of_counts_adds_up_to_one_count(tmp_path: Path) -> None:
    (tmp_path / "corpus").mkdir()
    for code, text in {"eng_Latn": "the dog saw the cat", "yor_Latn": "ajá náà rí ológbò náà"}.items():
        lines = [f"{text} {number}" for number in range(40)]
        (tmp_path / "corpus" / f"{code}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    work = tmp_path / "work"
    work.mkdir()
    (work / "languages.txt").write_text("eng_Latn\nYoruba\n", encoding="utf-8")
    environment = make_slurm(tmp_path, CORPUS=str(tmp_path / "corpus"), WORK=str(work), SLURM_CPUS_PER_TASK="1")
    for task in ("1", "2"):
        script = find_script("#SBATCH --array")
        subprocess.run(["bash", "-c", script], env={**environment, "SLURM_ARRAY_TASK_ID": task}, check=True)
    subprocess.run(["bash", "-c", find_script("vocabkit merge")], env=environment, check=True)
    command = ["bash", "-c", f"vocabkit count {tmp_path / 'corpus'} -o {tmp_path / 'whole'} --workers 1 -q"]
    subprocess.run(command, env=environment, check=True, stdout=subprocess.DEVNULL)
    merged, whole = (WordCounts.load(folder) for folder in (work / "counts", tmp_path / "whole"))
    assert merged.to_rows() == whole.to_rows()
    for name in (f"{code}/{split}.parquet" for code in whole.languages for split in ("train", "held_out")):
        assert (work / "counts" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
