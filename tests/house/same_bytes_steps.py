"""What `make same-bytes` runs: every verb of the command line at a size of seconds, and mistakes users make.

A step's output folder is named after the step, and a word of a command that begins with a step's name is
that step's output: this is how the runner knows what must be done first. Paths are relative to the folder
all steps run in, so that no message holds a path of one machine.
"""

from __future__ import annotations

import gzip
import json
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

CODES = "amh,deu,eng,hau,lao,rus,tam,yor"
TAIL = 'tail.languages=["amh_Ethi","tam_Taml","yor_Latn"]'
NAMES, MESSAGES = "sample/aligned/names", "sample/aligned/messages"
COUNTED = f"count sample/text --workers 1 --languages {CODES}"
FIT = "fit {} --counts counts -o {} --set vocabulary.size={}"


@dataclass(frozen=True)
class Step:
    """One command: its words after `vocabkit`, what it reads on stdin, and the exit code it must end with.

    Numbers of a step that is `exact` never depend on the machine. `after` are steps it waits for though it
    does not read them; `arrange` puts files in place before it.
    """

    name: str
    words: tuple[str, ...]
    stdin: str = ""
    code: int = 0
    exact: bool = False
    after: frozenset[str] = frozenset()
    arrange: Callable[[Path], None] | None = None

    @property
    def needs(self) -> set[str]:
        """What must be there first: the first part of all that looks like a path, be it a step or not."""
        parts = {part for word in self.words for part in re.split(r'[="]', word)}
        return {part.partition("/")[0] for part in parts} | self.after

    @property
    def uses_counts(self) -> bool:
        """Whether it may write to a cache in the counts folder: such steps are run one at a time."""
        return "--counts" in self.words


def write_inputs(work: Path) -> None:
    """Write the small files that steps read and the sample does not have: untidy text, lists, broken files."""
    folder = work / "inputs"
    chance = random.Random(7)
    words = {
        "eng_Latn": ["river", "stone", "house", "the", "and", "don't", "2,500", "ﬁne", "iPhone"],
        "yor_Latn": ["ọmọ", "náà", "ń", "ìwé", "ilé", "ọ́", "o\u0323\u0301", "lónìí"],
        "tha_Thai": ["ภาษาไทย", "น้ำ", "กรุงเทพมหานคร", "ฯลฯ"],
    }
    for part in ("first", "second"):
        for code, known in words.items():
            lines = [" ".join(chance.choices(known, k=chance.randint(1, 9))) for _ in range(120)]
            target = folder / part / code
            target.mkdir(parents=True)
            (target / f"{part}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    untidy = folder / "untidy"
    untidy.mkdir()
    (untidy / "eng_Latn.txt").write_bytes(
        b"\xef\xbb\xbfone two\r\n\r\nthree\x00 four\rfive\n" + b"x" * 2_500 + b" end\n"
    )
    records = [{"body": f"ilé {number} ọmọ", "id": number} for number in range(40)]
    (untidy / "yor_Latn.jsonl").write_text(
        "\n".join(json.dumps(record, ensure_ascii=False) for record in records), encoding="utf-8"
    )
    paragraphs = "\n".join(f"река {number} течёт\n\nмимо" for number in range(30))
    # No time in the header: a folder of counts holds a fingerprint of the file.
    (untidy / "rus_Cyrl.txt.gz").write_bytes(gzip.compress(paragraphs.encode(), mtime=0))
    (untidy / "notes.md").write_text("left aside\n", encoding="utf-8")
    (folder / "list.tsv").write_text("ọmọ\t120\nilé\t45\nìwé\t3\n", encoding="utf-8")
    (folder / "bad-list.tsv").write_text("ọmọ\tmany\n", encoding="utf-8")
    (folder / "bad.toml").write_text("[vocabulary\nsize = 3\n", encoding="utf-8")
    (folder / "latin1").mkdir()
    (folder / "latin1" / "deu_Latn.txt").write_bytes("gr\u00fcn\n".encode("latin-1"))
    (folder / "model.bin").mkdir()
    (folder / "model.bin" / "config.json").write_text("{}", encoding="utf-8")


def _take_back(work: Path) -> None:
    """Put in place the run that stopped after ten of its twenty steps: a copy without the last checkpoint."""
    target = work / "pretrain-resumed"
    shutil.copytree(work / "pretrain-xlmr", target)
    shutil.rmtree(target / "checkpoints" / "step-00000020")
    (target / "result.json").unlink()  # else it says at once what it found


def _shard(work: Path) -> None:
    """Write the causal model as larger ones are written: two files of weights and an index."""
    from safetensors.numpy import load_file, save_file

    target = work / "inputs" / "sharded"
    shutil.copytree(work / "export-llama", target)
    tensors = load_file(target / "model.safetensors")
    (target / "model.safetensors").unlink()
    places: dict[str, str] = {}
    for number, names in enumerate((sorted(tensors)[::2], sorted(tensors)[1::2])):
        file = f"model-{number + 1:05}-of-00002.safetensors"
        save_file({name: tensors[name] for name in names}, target / file, {"format": "pt"})
        places |= dict.fromkeys(names, file)
    size = sum(tensor.nbytes for tensor in tensors.values())
    index = {"metadata": {"total_size": size}, "weight_map": places}
    (target / "model.safetensors.index.json").write_text(json.dumps(index), encoding="utf-8")


def _save_state(work: Path) -> None:
    """Write the causal model's weights as a PyTorch file, nested under the name of a wrapper."""
    import torch
    from safetensors.torch import load_file

    tensors = load_file(work / "export-llama" / "model.safetensors")
    torch.save({"state_dict": tensors}, work / "inputs" / "state.pt")


def list_steps() -> list[Step]:
    """All steps, in an order in which each could be run after those before it."""
    # Not before its kernels are compiled, which would be done twice.
    demo = replace(_step("demo", "demo -o demo -f csv"), after=frozenset({"fit-shared"}))
    return [
        *_list_counting(), demo, *_list_fits(), *_list_allocations(), *_list_audits(), *_list_views(),
        *_list_training(), *_list_extensions(), *_list_mistakes(),
    ]  # fmt: skip


def _step(name: str, text: str, *more: str, code: int = 0, exact: bool = False) -> Step:
    return Step(name, (*text.split(), *more), code=code, exact=exact)


def _list_counting() -> list[Step]:
    steps = [
        _step("sample", "sample sample"),
        _step("counts", f"{COUNTED} -o counts"),
        _step("count-two", "count sample/text -o count-two --workers 2 --languages eng,zho -f csv"),
        _step("count-plan", "count sample/text -o none --dry-run --languages eng,yor -f markdown"),
        _step("count-untidy", "count inputs/untidy -o count-untidy --workers 1 --held-out 0.2 "
              "--field body --document blank-line --min-count 2 -f json"),
        _step("count-config", "count count-untidy/config.toml -o count-config --workers 1"),
        _step("count-list", "count --from-frequencies inputs/list.tsv --language yor -o count-list "
              "--held-out 0.1 --seed 3"),
        _step("count-grown", "count inputs/first -o count-grown --workers 1"),
        _step("count-panel", "count inputs/first -o count-panel --workers 1 --panel panel-40 "
              "--allow-missing -q"),
        # The same folder: what it holds in the end is what both left there.
        _step("count-more", "count inputs/second -o count-grown --update --workers 1"),
        _step("merge", "merge counts count-untidy -o merge"),
        _step("merge-again", "merge count-untidy count-config counts -o merge-again -f json"),
        _step("presets-list", "presets list"),
        _step("presets-json", "presets list -f json"),
        _step("presets-show", "presets show continue"),
        _step("presets-keys", "presets keys continue -f csv"),
        _step("presets-part", "presets keys balanced-250k trainer"),
        _step("presets-copy", "presets copy balanced-250k presets-copy.toml"),
        _step("help", "--help"),
    ]  # fmt: skip
    return [replace(step, exact=True) for step in steps]


def _list_fits() -> list[Step]:
    def fit(name: str, preset: str, size: int, text: str = "", *more: str) -> Step:
        return _step(name, f"{FIT.format(preset, name, size)} {text}", *more)

    continued = "fit continued-bpe --counts counts --base {} --languages yor,tam --set tokens.new={} -o"
    return [
        fit("fit-shared", "shared-250k", 1_200),
        fit("fit-balanced", "balanced-250k", 1_500, "-f json"),
        replace(
            _step("fit-text", "fit shared-250k --corpus inputs/first -o fit-text --set vocabulary.size=70"),
            after=frozenset({"fit-shared"}),
        ),
        fit("fit-unimax", "balanced-250k", 1_400, "--set languages.weighting=unimax "
            "--set normalization.rule=nfc --set vocabulary.digits=groups --set vocabulary.reserved=5 "
            "--allow-oversampling 3 -f csv"),
        fit("fit-again", "fit-balanced", 1_500, "--quiet"),
        fit("fit-proportional", "proportional-500k", 1_600, "-f markdown"),
        _step("fit-blocks", "fit two-stage-250k-12x50k --counts counts -o fit-blocks --base fit-shared "
              "--set tail.size=60 --set tail.allow_fewer=true --routed yor,tam --set", TAIL),
        _step("fit-two-stage", "fit two-stage-250k-12x50k --counts counts -o fit-two-stage --set "
              "vocabulary.size=1_100 --set tail.size=30 --set tail.allow_fewer=true --set", TAIL),
        fit("fit-parity", "parity-250k", 1_500, f"--dev {NAMES} --set parity.rounds=2 "
            "--set parity.lines=150"),
        fit("fit-bpe", "bpe", 1_300, "--set vocabulary.byte_fallback=true"),
        fit("fit-sentencepiece", "shared-250k", 1_100, "--set trainer.engine=sentencepiece"),
        fit("fit-byte-bpe", "byte-bpe", 700, "--set vocabulary.space_runs=4"),
        fit("fit-byte-parity", "byte-bpe", 600, "--set merging.method=parity "
            "--set pre_tokens.pattern=llama3 --set merging.shared_merges=50"),
        _step("fit-continued", continued.format("fit-byte-bpe", 150), "fit-continued"),
        _step("fit-continued-bpe", continued.format("fit-bpe", 120), "fit-continued-bpe"),
    ]  # fmt: skip


def _list_allocations() -> list[Step]:
    allocate = "allocate --counts counts --budget 1_600 -o"
    return [
        _step("allocate-proportional", f"{allocate} allocate-proportional --method proportional"),
        _step("allocate-exponent", f"{allocate} allocate-exponent --method exponent -f csv"),
        _step("allocate-unimax", f"{allocate} allocate-unimax --method unimax -f json --floor 100"),
        _step("allocate-vocap", f"{allocate} allocate-vocap --method vocap"),
        _step("allocate-parity", f"{allocate} allocate-parity --method parity --dev {NAMES} "
              "--dev-lines 100"),
        _step("allocate-maxmin", f"{allocate} allocate-maxmin --method maxmin --ceiling 600 "
              "--languages eng,yor,tam,lao"),
        _step("fit-allocated", "fit allocate-vocap --counts counts -o fit-allocated"),
        _step("saturation", "allocate --saturation --counts counts --base fit-shared -o saturation "
              "--set sizes=[20,50] --set resamples=50 --set", 'tail=["tam_Taml","yor_Latn"]'),
    ]  # fmt: skip


def _list_audits() -> list[Step]:
    spoken = f"--corpus {NAMES} --languages {CODES} --resamples 60 --workers 1"
    compare = f"compare fit-shared fit-balanced --corpus {MESSAGES} --resamples 60 --workers 1"
    return [
        _step("audit-names", f"audit fit-shared fit-balanced fit-bpe {spoken} --aligned yes -o audit-names"),
        _step("audit-messages", f"audit fit-byte-bpe fit-continued/tokenizer.json --corpus {MESSAGES} "
              "--languages eng,deu,rus,zho,fra --resamples 60 --workers 1 --limit 80 --fixed fit-byte-bpe "
              "-f csv -o audit-messages"),
        _step("audit-counts", "audit fit-blocks --counts counts --sharing --workers 1 -f json --seed 4 "
              "--resamples 60 -o audit-counts"),
        _step("audit-both", f"audit fit-blocks --counts counts {spoken} --route yor -f markdown "
              "--reference deu --width 64 -o audit-both"),
        _step("audit-failed", f"audit fit-shared {spoken} --no-integrity --require premium.max<1.0 "
              "--require premium.mean<99 -o audit-failed", code=1),
        _step("compare-failed", f"{compare} --languages deu,eng,rus,zho --max-regression 0.1%", code=1),
        _step("compare-passed", f"{compare} --max-regression 900% --languages deu,rus,zho -f json"),
    ]  # fmt: skip


def _list_views() -> list[Step]:
    text = "Ẹ kú àárọ̀\t2,500 ﬁ 漢字 \u202eabc 😀"
    return [
        _step("show-pieces", "show fit-shared", text),
        _step("show-route", "show fit-blocks --route yor -f json", text),
        _step("show-bytes", "show fit-byte-bpe -f csv", text),
        _step("show-several", "show fit-shared fit-byte-bpe", text),
        Step("show-piped", ("show", "fit-shared", "fit-byte-bpe", "-f", "csv"), stdin=f"{text}\n"),
        Step("show-stdin", ("show", "fit-balanced", "-", "-f", "markdown"), stdin=f"{text}\n"),
        _step("diff-scripts", "diff fit-shared fit-balanced"),
        _step("diff-pieces", "diff fit-shared fit-blocks --pieces -f csv"),
        _step("diff-none", "diff fit-balanced fit-again -f json"),
    ]


def _list_training() -> list[Step]:
    short = (
        "--set training.steps=20 --set save.every=10 --set save.keep=3 --set log.every=5 "
        "--set log.evaluate_every=10 --set log.evaluate_rows=2"
    )
    tiny = "pretrain tiny --set model.width=32 --set model.feed_forward=64 --set training.batch_rows=4"
    prepare = f"prepare sample/text --languages {CODES} --workers 1 --length 48 --held-out 0.1"
    grown = "--set training.batch_rows=4 --set training.micro_rows=2 --set training.precision='fp32'"
    return [
        _step("prepare-shared", f"{prepare} -t fit-shared -o prepare-shared"),
        _step("prepare-blocks", f"{prepare} -t fit-blocks -o prepare-blocks -f csv"),
        _step("prepare-routed", f"{prepare} -t fit-blocks --encoding routed -o prepare-routed"),
        _step("prepare-bytes", f"{prepare} -t fit-byte-bpe -o prepare-bytes -f json"),
        _step("prepare-two", "prepare sample/text --languages eng,yor --workers 2 -t fit-shared "
              "-o prepare-two --document file"),
        _step("plan-presets", "pretrain multi-l --dry-run --device h200"),
        _step("plan-data", f"{tiny} --data prepare-shared --dry-run --device a100-80gb:4 -f json"),
        _step("pretrain-xlmr", f"{tiny} --data prepare-shared -o pretrain-xlmr {short}"),
        replace(_step("pretrain-resumed", f"{tiny} --data prepare-shared -o pretrain-resumed {short}"),
                arrange=_take_back, after=frozenset({"pretrain-xlmr"})),
        _step("pretrain-modern", f"{tiny} --data prepare-blocks -o pretrain-modern {short} "
              "--set model.layout=modern --set model.layers=3 --set training.micro_rows=2 -f json"),
        _step("pretrain-llama", f"{tiny} --data prepare-bytes -o pretrain-llama {short} "
              "--set model.layout=llama --set model.kv_heads=2 --set languages.weighting=unimax"),
        _step("pretrain-routed", f"{tiny} --data prepare-routed -o pretrain-routed {short} -q"),
        _step("export-xlmr", "export pretrain-xlmr -o export-xlmr --optimizer --verify"),
        _step("export-resumed", "export pretrain-resumed -o export-resumed --optimizer"),
        _step("export-early", "export pretrain-xlmr -o export-early --step 10 -q"),
        _step("export-modern", "export pretrain-modern -o export-modern --dtype bf16 --verify -f json"),
        _step("export-llama", "export pretrain-llama -o export-llama --verify"),
        _step("export-routed", "export pretrain-routed -o export-routed --route yor"),
        _step("export-union", "export pretrain-routed -o export-union --union"),
        _step("plan-grown", "pretrain continue --checkpoint extend-grown --data prepare-grown --dry-run "
              f"--device h200 {short} {grown} --allow-epochs 1_000"),
        _step("prepare-grown", f"{prepare} -t extend-grown -o prepare-grown -q"),
        _step("pretrain-grown", "pretrain continue --checkpoint extend-grown --data prepare-grown "
              f"-o pretrain-grown {short} {grown} --set training.compile=false --allow-epochs 1_000"),
        _step("export-grown", "export pretrain-grown -o export-grown --optimizer"),
    ]  # fmt: skip


# Of new rows of a causal model: (input, output). Text where a method learns from some.
INITIALIZERS = {
    "extend-positional": ("positional", "first"),
    "extend-overlap": ("overlap", "last"),
    "extend-random": ("multivariate:scale=0.5", "normal"),
    "extend-plain": ("diagonal", "mean"),
    "extend-knn": ("knn:k=5", "focus"),
    "extend-omp": ("omp", "clp"),
    "extend-linear": ("least-squares", "procrustes"),
    "extend-alignment": ("alignment", "subword-mean"),
    "extend-distill": ("distill:steps=2", "zero"),
}


def _list_extensions() -> list[Step]:
    text = "--text sample/text/yor_Latn.txt"
    untied = [
        _step(name, f"extend export-llama fit-continued -o {name} --untie {text} --init-input {first} "
              f"--init-output {second} --seed 5 -q")
        for name, (first, second) in INITIALIZERS.items()
    ]  # fmt: skip
    return [
        _step("extend-plan", "extend export-xlmr fit-blocks -o none --dry-run -f json"),
        _step("extend-grown", "extend export-xlmr fit-blocks -o extend-grown --pad-to-multiple-of 64"),
        _step("extend-replaced", "extend export-xlmr fit-balanced -o extend-replaced "
              "--init-bias first-shared -f csv"),
        _step("extend-trimmed", "extend extend-grown fit-shared -o extend-trimmed"),
        _step("extend-modern", "extend export-modern fit-balanced -o extend-modern "
              "--donor export-xlmr --init-input omp:k=4 --init-output omp:k=4"),
        *untied,
        replace(_step("extend-sharded", "extend inputs/sharded fit-continued -o extend-sharded --link"),
                arrange=_shard, after=frozenset({"export-llama"})),
        replace(_step("extend-state", "extend inputs/state.pt fit-continued -o extend-state "
                "--old-tokenizer fit-byte-bpe"),
                arrange=_save_state, after=frozenset({"export-llama"})),
        _step("verify-grown", f"verify extend-grown {text}"),
        _step("verify-replaced", "verify extend-replaced --original export-xlmr -f json"),
        _step("verify-trimmed", "verify extend-trimmed --no-reload -f markdown"),
        _step("verify-knn", "verify extend-knn -f csv"),
        _step("undo-grown", "undo extend-grown -o undo-grown"),
        _step("undo-replaced", "undo extend-replaced -o undo-replaced --link"),
        _step("undo-trimmed", "undo extend-trimmed -o undo-trimmed -q"),
        _step("undo-knn", "undo extend-knn -o undo-knn"),
        _step("undo-sharded", "undo extend-sharded -o undo-sharded"),
        _step("undo-state", "undo extend-state -o undo-state"),
        _step("compare-init", f"compare-init export-llama fit-continued {text} --limit 8 --resamples 40 "
              "--method subword-mean/first --method positional --method mean --method knn -f json"),
        _step("compare-masked", f"compare-init export-xlmr fit-blocks {text} --limit 6 --resamples 40 "
              "--method subword-mean --method first --bias first-shared"),
    ]  # fmt: skip


# What an undone folder must equal, file by file.
UNDONE = {
    "undo-grown": "export-xlmr",
    "undo-replaced": "export-xlmr",
    "undo-trimmed": "extend-grown",
    "undo-knn": "export-llama",
    "undo-sharded": "inputs/sharded",
}

MISTAKES = {
    "no-corpus": "count nowhere -o none",
    "no-counts": "fit shared-250k --counts nowhere -o none",
    "not-utf8": "count inputs/latin1 -o none --workers 1",
    "bad-list": "count --from-frequencies inputs/bad-list.tsv --language yor -o none",
    "two-sources": "count sample/text --from-frequencies inputs/list.tsv -o none",
    "wrong-code": "count sample/text -o none --languages eng,yorr",
    "output-exists": "fit shared-250k --counts counts -o fit-shared --set vocabulary.size=1_500",
    "own-input": "fit shared-250k --counts counts -o counts --force",
    "misspelt-key": "fit shared-250k --counts counts -o none --set vocabulary.sise=4_000",
    "wrong-type": "fit shared-250k --counts counts -o none --set vocabulary.size=many",
    "misspelt-preset": "fit shared-25k --counts counts -o none",
    "broken-toml": "fit inputs/bad.toml --counts counts -o none",
    "too-large": "fit shared-250k --counts counts -o none --set vocabulary.size=900_000",
    "no-base": "fit continued-bpe --counts counts -o none",
    "no-dev": "fit parity-250k --counts counts -o none --set vocabulary.size=1_500",
    "wrong-method": "allocate --counts counts -o none --method fair",
    "base-alone": "allocate --counts counts -o none --base fit-shared",
    "bad-requirement": "audit fit-shared --corpus sample/text -o none --require premium",
    "no-text": "audit fit-shared -o none",
    "no-model": "compare fit-shared nowhere --corpus sample/aligned/names",
    "bad-share": "compare fit-shared fit-balanced --corpus sample/text --max-regression lots",
    "wrong-route": "show fit-blocks abc --route eng_Latm",
    "no-pieces": "diff fit-shared fit-byte-bpe",
    "no-weights": "extend inputs/model.bin fit-shared -o none",
    "wrong-initializer": "extend export-xlmr fit-blocks -o none --init-input means",
    "bad-tensor": "extend export-xlmr fit-blocks -o none --tensor weight",
    "within-input": "extend export-xlmr fit-blocks -o export-xlmr/out",
    "not-extended": "undo export-xlmr -o none",
    "no-receipt": "verify export-xlmr",
    "no-tokenizer": "prepare sample/text -t nowhere -o none",
    "no-data": "pretrain tiny -o none",
    "too-few-rows": "pretrain multi-s --data prepare-shared -o none",
    "other-settings": "pretrain tiny --data prepare-shared -o pretrain-xlmr --set training.steps=7",
    "unsaid-route": "export pretrain-routed -o none",
    "no-step": "export pretrain-xlmr -o none --step 7",
    "unknown-verb": "fitt shared-250k",
    "unknown-preset": "presets show nothing",
    "unknown-key": "presets keys tiny trainin.stepz",
    "wrong-field": "count inputs/untidy -o none --languages yor --field bodi",
    "one-of-several": "count inputs/first -o none --language yor",
    "no-text-to-show": "show fit-shared",
}


def _list_mistakes() -> list[Step]:
    # An output of its own: two at a time must not meet, and none may be left behind.
    return [
        _step(f"mistake-{name}", text.replace("-o none", f"-o mistake-{name}"), code=2, exact=True)
        for name, text in MISTAKES.items()
    ]
