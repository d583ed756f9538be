"""What becomes of each bad input of each verb: a cell a fault and verb, run in this process.

    python -m tests.cli.faults        writes the matrix into docs/promises.md

Most faults are refused: exit code 2, one error and one hint, nothing left behind. What is not stands in
`OTHERWISE`, with the reason. `test_faults` runs every cell; one that takes or leaves an input in another way
than said fails.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import re
import resource
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from typer.testing import CliRunner

from cli import app
from vocabkit.core.records import seal
from vocabkit.extension.sample_checkpoint import write_sample_checkpoint

Outcome = Literal["refused", "fails", "works"]
WORDS = {
    "eng_Latn": "the dog sat on a mat and saw the cat that ran from house to house in rain",
    "yor_Latn": "ajá náà jókòó lórí ẹní ó sì rí ológbò tí ń sáré láti ilé dé ilé nínú òjò",
}
_TINY = (
    "model.layers=1 model.width=16 model.heads=2 model.feed_forward=32 training.steps=2 training.batch_rows=4 "
    "training.micro_rows=4 training.precision='fp32' training.compile=false log.evaluate_every=0 "
    "languages.allow_epochs=1000"
)
_SETS = " ".join(f"--set {setting}" for setting in _TINY.split())


@dataclass(frozen=True)
class Verb:
    """A command that works: its words, with inputs in braces, and what spoils them.

    `wrong` is a value that an option does not take, `language` a language that is not there; None where the
    verb takes none, and `language_says` why.
    """

    words: str
    wrong: str
    language: str | None = None
    writes: bool = True
    inputs: tuple[str, ...] = field(init=False, default=())

    def __post_init__(self) -> None:
        found = [name for name in re.findall(r"\{(\w+)\}", self.words) if name != "out"]
        object.__setattr__(self, "inputs", tuple(found))


VERBS = {
    "count": Verb("count {text} -o {out} --workers 1", "--held-out 7", "--languages xxx_Latn"),
    "merge": Verb("merge {counts} {more} -o {out}", "--memory much"),
    "fit": Verb(
        "fit shared-250k --counts {counts} -o {out} --set vocabulary.size=62", "--set vocabulary.size=many",
        "--languages xxx_Latn",
    ),
    "show": Verb("show {tok} dog", "--format sound", "--route xxx_Latn", writes=False),
    "diff": Verb("diff {tok} {big}", "--format sound", writes=False),
    "audit": Verb(
        "audit {tok} --corpus {text} -o {out} --workers 1 --resamples 0 --no-integrity", "--require premium",
        "--languages xxx_Latn",
    ),
    "compare": Verb(
        "compare {tok} {big} --corpus {text} --workers 1 --resamples 0 --max-regression 900%",
        "--max-regression lots", "--languages xxx_Latn", writes=False,
    ),
    "allocate": Verb(
        "allocate --counts {counts} --budget 60 -o {out}", "--method guess", "--languages xxx_Latn"
    ),
    "extend": Verb("extend {model} {big} -o {out} --init-input zero", "--init-input guess"),
    "compare-init": Verb(
        "compare-init {model} {big} --text {lines} --resamples 0 --method mean --limit 4", "--method guess",
        writes=False,
    ),
    "verify": Verb("verify {extended} --no-reload", "--format sound", writes=False),
    "undo": Verb("undo {extended} -o {out}", "--format sound"),
    "prepare": Verb(
        "prepare {text} --tokenizer {tok} -o {out} --length 64 --workers 1", "--length 3",
        "--languages xxx_Latn",
    ),
    "pretrain": Verb(f"pretrain tiny --data {{shards}} -o {{out}} {_SETS}", "--set training.steps=many"),
    "export": Verb("export {run} -o {out}", "--dtype int4", "--route xxx_Latn"),
}  # fmt: skip
_MAIN = {
    "text": "eng_Latn.txt.gz", "counts": "eng_Latn/train.parquet", "more": "eng_Latn/train.parquet",
    "tok": "tokenizer.model", "big": "tokenizer.model", "model": "model.safetensors", "lines": "",
    "extended": "model.safetensors", "shards": "eng_Latn/00000.train.npy",
    "run": "checkpoints/step-00000002/rank-00000.safetensors",
}  # fmt: skip
"""The file of each input that is damaged: the one that most of it is in."""
_CACHES = ("spans", "seeds", "curves")
_NAMES = {
    "text": "corpus", "more": "counts", "tok": "tokenizer", "big": "tokenizer", "lines": "text",
    "extended": "extended model",
}  # fmt: skip
FAULTS = {
    "missing path": "the input is not there",
    "empty file": "the input's largest file has no byte",
    "truncated": "the second half of the input's largest file is missing (compressed text, for a corpus)",
    "flipped byte": "one bit in the middle of that file is another; a foreign checkpoint and a "
    "tokenizer have no digest, "
    "and one that can still be read is another one",
    "wrong kind of file": "a picture where the input should be",
    "unreadable": "the input is a folder, or a file, that may not be read",
    "path not UTF-8": "the name of the input has a byte that is no text",
    "pipe or device": "`-o` names a pipe, a device or a link to nothing",
    "output in input": "`-o` names the input, or a folder in it",
    "full disk": "nothing longer than 100 bytes can be written",
    "wrong option value": "an option has a value that it does not take",
    "wrong language": "a language is asked for that is not there",
    "hostile name": "a file or a record names a file outside the folder, or holds a terminal's commands",
}


def run_verb(words: list[str]) -> tuple[int, str]:
    """Run a command in this process; return its exit code and what it said on stderr.

    Whatever it was given, it shows no traceback and sends a terminal no commands.
    """
    before, sys.argv = sys.argv, ["vocabkit", *words]
    try:
        result = CliRunner().invoke(app, words)
    finally:
        sys.argv = before
    assert "Traceback" not in result.stderr, result.stderr
    assert "\x1b" not in result.output, result.output
    return result.exit_code, result.stderr


def write_world(world: Path) -> None:
    """Make what every verb reads, with the verbs themselves."""
    (world / "text").mkdir()
    for code, words in WORDS.items():
        text = "".join(f"{words[start % 20 :]}\n" for start in range(60)).encode()
        (world / "text" / f"{code}.txt.gz").write_bytes(gzip.compress(text, mtime=0))
    (world / "lines").write_text("".join(f"{words}\n" for words in WORDS.values()), encoding="utf-8")

    def make(verb: str, out: str, **changed: str) -> None:
        places = {name: str(world / name) for name in _MAIN} | {"out": str(world / out)}
        words = [changed.get(word, word).format(**places) for word in VERBS[verb].words.split()]
        code, said = run_verb(words)
        assert code == 0, said

    make("count", "counts")
    for code in WORDS:  # a corpus counted twice may not be merged
        shutil.copytree(world / "text", world / "others", dirs_exist_ok=True)
        (world / "others" / f"{code}.txt.gz").write_bytes(gzip.compress(f"{WORDS[code]}\n".encode() * 9))
    make("count", "more", **{"{text}": str(world / "others")})
    for name, size in (("tok", "66"), ("big", "72")):
        make("fit", name, **{"vocabulary.size=62": f"vocabulary.size={size}"})
    write_sample_checkpoint(world / "model", world / "tok", width=8, layers=1)
    make("extend", "extended")
    make("prepare", "shards")
    make("pretrain", "run")
    for place in world.rglob("*"):
        place.chmod(0o755 if place.is_dir() else 0o644)  # safetensors' files are their owner's alone


class Cell:
    """A verb's inputs in a folder of their own, to be spoilt, and what becomes of the command then."""

    def __init__(self, world: Path, folder: Path, verb: str) -> None:
        self.folder, self.verb = folder, VERBS[verb]
        folder.mkdir()
        self.places: dict[str, Any] = {"out": folder / "out"}
        for name in self.verb.inputs:
            self.places[name] = folder / name
            if (world / name).is_dir():
                # A fit from what was derived from the counts would not look at them.
                shutil.copytree(world / name, folder / name, ignore=shutil.ignore_patterns(*_CACHES))
            else:
                shutil.copyfile(world / name, folder / name)

    def find(self, name: str) -> Path:
        """The file of an input that is damaged."""
        if name == "big" and "{model}" in self.verb.words:  # ids for transformers are in the other file
            return Path(self.places[name], "tokenizer.json")
        return Path(self.places[name], _MAIN[name]) if _MAIN[name] else Path(self.places[name])

    def run(self, *more: str) -> Outcome:
        """Run the command, more words added; what came of it. A refusal must be whole and leave nothing."""
        words = [word.format(**self.places) for word in self.verb.words.split()] + [*more]
        before = self._list()
        code, said = run_verb(words)
        if code == 0:
            return "works"
        assert code in (1, 2), (code, said)
        if code == 1:
            assert "failed" in said or "error" in said, said
            return "fails"
        lines = said.splitlines()
        errors = [line for line in lines if line.startswith("error: ")]
        hints = [line for line in lines if line.startswith("hint: ")]
        assert len(errors) == len(hints) == 1, said
        assert self._list() == before, (said, self._list().keys() ^ before.keys())
        return "refused"

    def _list(self) -> dict[str, str]:
        found = {}
        for root, folders, files in os.walk(self.folder):
            # What `count` and `prepare` finished is kept; what is derived from counts is a cache in them.
            kept = (".out.counting", ".out.preparing", *_CACHES)
            folders[:] = [name for name in folders if name not in kept]
            for name in (*folders, *files):
                place = Path(root, name)
                readable = place.is_file() and os.access(place, os.R_OK, effective_ids=True)
                data = place.read_bytes() if readable else b""
                found[os.fsdecode(place)] = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return found


# --- Faults ----------------------------------------------------------------------------------------
# A check spoils one input, runs the command and returns the outcome; None where there is nothing to spoil.

Check = Callable[[Cell, str], Outcome | None]


def miss(cell: Cell, name: str) -> Outcome:
    cell.places[name] = cell.folder / "nowhere"
    return cell.run()


def empty(cell: Cell, name: str) -> Outcome:
    cell.find(name).write_bytes(b"")
    return cell.run()


def truncate(cell: Cell, name: str) -> Outcome:
    data = cell.find(name).read_bytes()
    cell.find(name).write_bytes(data[: len(data) // 2])
    return cell.run()


def flip(cell: Cell, name: str) -> Outcome:
    data = bytearray(cell.find(name).read_bytes())
    data[len(data) // 2] ^= 0x40
    cell.find(name).write_bytes(data)
    return cell.run()


def take_picture(cell: Cell, name: str) -> Outcome:
    cell.places[name] = cell.folder / "picture.png"
    cell.places[name].write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\1\0")
    return cell.run()


def hide(cell: Cell, name: str) -> Outcome:
    """Root may read anything: it becomes nobody."""
    place, before = Path(cell.places[name]), os.geteuid()
    mode = place.stat().st_mode
    place.chmod(0)
    cell.folder.chmod(0o777)
    try:
        if before == 0:
            os.seteuid(65_534)
        return cell.run()
    finally:
        os.seteuid(before)
        place.chmod(mode)


def rename(cell: Cell, name: str) -> Outcome:
    place = Path(cell.places[name])
    cell.places[name] = place.rename(place.with_name("not-\udcff"))
    return cell.run()


def name_no_folder(cell: Cell, name: str) -> Outcome | None:
    if not cell.verb.writes:
        return None
    os.mkfifo(cell.folder / "pipe")
    (cell.folder / "link").symlink_to(cell.folder / "nothing")
    found = set()
    for place in (cell.folder / "pipe", Path("/dev/null"), cell.folder / "link"):
        cell.places["out"] = place
        found.add(cell.run())
    (outcome,) = found
    return outcome


def write_inside(cell: Cell, name: str) -> Outcome | None:
    if not cell.verb.writes:
        return None
    place, found = Path(cell.places[name]), set()
    cell.places["out"] = place / "deep" / "out"
    found.add(cell.run())
    cell.places["out"] = place
    found |= {cell.run(), cell.run(*(() if "--force" in cell.verb.words else ("--force",)))}
    (outcome,) = found
    return outcome


def fill_disk(cell: Cell, name: str) -> Outcome:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, before[1]))
    try:
        return cell.run()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def mistake(cell: Cell, name: str) -> Outcome:
    return cell.run(*cell.verb.wrong.split())


def ask_language(cell: Cell, name: str) -> Outcome | None:
    return None if cell.verb.language is None else cell.run(*cell.verb.language.split())


def rewrite(path: Path, change: Callable[[Any], None], *, sealed: bool = True) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    change(content)
    path.write_text(json.dumps(seal(content) if sealed else content), encoding="utf-8")


def lead_outside(cell: Cell, name: str) -> Outcome | None:
    """Let an input name what is not in it, as somebody would who can make its seal."""
    place = Path(cell.places[name])
    if name in ("counts", "more"):
        rewrite(
            place / "languages.json", lambda held: held.update({"../../x": held.pop("eng_Latn")}), sealed=False
        )
    elif name == "text":
        (place / "eng_Latn.txt.gz").rename(place / "\x1b[31mred.txt.gz")
    elif name == "model":
        tensors = {"roberta.embeddings.word_embeddings.weight": "../../x.safetensors"}
        (place / "model.safetensors").rename(place.parent / "x.safetensors")
        index = json.dumps({"metadata": {}, "weight_map": tensors})
        (place / "model.safetensors.index.json").write_text(index, encoding="utf-8")
    elif name == "extended":

        def point(held: Any) -> None:
            held["files"]["../.bashrc"] = next(iter(held["files"].values()))

        rewrite(place / "extension" / "receipt.json", point)
    elif name == "shards":

        def move(held: Any) -> None:
            held["languages"]["eng_Latn"]["files"][0]["name"] = "../../00000"

        rewrite(place / "shards.json", move)
    elif name == "run":

        def add(held: Any) -> None:
            held["files"]["../../x"] = next(iter(held["files"].values()))

        rewrite(place / "run.json", add)
    else:
        cell.places[name] = place.rename(place.with_name("\x1b[31mred"))
    return cell.run()


CHECKS: dict[str, Check] = dict(
    zip(
        FAULTS,
        (miss, empty, truncate, flip, take_picture, hide, rename, name_no_folder, write_inside, fill_disk,
         mistake, ask_language, lead_outside),
        strict=True,
    )
)  # fmt: skip
ONCE = ("pipe or device", "full disk", "wrong option value", "wrong language")
"""Faults that are of the command and not of an input."""
_DAMAGE = ("empty file", "truncated", "flipped byte")
_SHOWN = "the name is escaped"
_NAMED = "measures the others and names it; `--require` fails"
_DIGESTLESS = "no digest: other numbers"
OTHERWISE: dict[tuple[str, str, str], tuple[Outcome, str]] = {
    ("flipped byte", "extend", "model"): ("works", _DIGESTLESS),
    ("flipped byte", "compare-init", "model"): ("works", _DIGESTLESS),
    ("hostile name", "compare-init", "lines"): ("works", _SHOWN),
    **{(fault, "audit", "text"): ("works", _NAMED) for fault in _DAMAGE},
    **{(fault, "compare", "text"): ("fails", "names the language") for fault in _DAMAGE},
    **{(fault, "verify", "extended"): ("fails", "names the file") for fault in (*_DAMAGE, "hostile name")},
    **{("full disk", verb, ""): ("works", "writes nothing") for verb in VERBS if not VERBS[verb].writes},
    **{
        ("hostile name", verb, name): ("works", _SHOWN)
        for verb in VERBS for name in VERBS[verb].inputs if name in ("tok", "big")
    },
}  # fmt: skip
"""Fault, verb and input → what is not refused, and why; the input is empty for faults of the command."""


def list_inputs(fault: str, verb: str) -> tuple[str, ...]:
    return ("",) if fault in ONCE else VERBS[verb].inputs


def expect(fault: str, verb: str, name: str) -> tuple[Outcome | None, str]:
    """What becomes of a fault of a verb's input, and why."""
    if fault in ("pipe or device", "output in input") and not VERBS[verb].writes:
        return None, "writes nothing"
    if fault == "wrong language" and VERBS[verb].language is None:
        return None, "takes none"
    return OTHERWISE.get((fault, verb, name), ("refused", ""))


# --- The page --------------------------------------------------------------------------------------

PAGE = Path(__file__).resolve().parents[2] / "docs" / "promises.md"
BEGIN, END = "<!-- the matrix: written by make reference -->", "<!-- end of the matrix -->"
_SAID: dict[Outcome, str] = {"refused": "refused", "fails": "exit 1", "works": "exit 0"}
_GROUPS = (
    ("count", "merge", "fit", "allocate"), ("show", "diff", "audit", "compare"),
    ("extend", "compare-init", "verify", "undo"), ("prepare", "pretrain", "export"),
)  # fmt: skip


def describe_cell(fault: str, verb: str) -> str:
    """What a cell says: one outcome for all inputs, or one for each."""
    found: dict[str, list[str]] = {}
    for name in list_inputs(fault, verb):
        outcome, why = expect(fault, verb, name)
        said = why if outcome is None else _SAID[outcome] + (f": {why}" if why else "")
        named = _NAMES.get(name, name)
        if named not in found.setdefault(said, []):
            found[said].append(named)
    if len(found) == 1:
        return next(iter(found))
    return "; ".join(f"{' and '.join(names)} {said}" for said, names in found.items())


def render() -> Iterator[str]:
    """Yield the lines of the matrix."""
    for verbs in _GROUPS:
        yield "| | " + " | ".join(f"`{verb}`" for verb in verbs) + " |"
        yield "| --- " * (len(verbs) + 1) + "|"
        for fault in FAULTS:
            yield f"| {fault} | " + " | ".join(describe_cell(fault, verb) for verb in verbs) + " |"
        yield ""
    yield from (f"- **{fault}**: {text}." for fault, text in FAULTS.items())


def place_matrix(page: str) -> str:
    """Return the page with the matrix as the table has it."""
    head, _, rest = page.partition(BEGIN)
    return head + BEGIN + "\n\n" + "\n".join(render()) + "\n\n" + END + rest.partition(END)[2]


if __name__ == "__main__":
    PAGE.write_text(place_matrix(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
