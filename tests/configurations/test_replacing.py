"""Replace-bpe: what goes and what never does, what it costs as the libraries themselves count it, and ids."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sentencepiece
from safetensors.numpy import load_file, save_file
from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

from tests.configurations.test_two_stage import language, like_xlm_roberta
from tests.extension.tiny_models import snapshot
from vocabkit.configurations.byte_bpe import continue_bpe
from vocabkit.configurations.replacing import (
    _choose_sides,
    _find_droppable,
    _find_residual,
    _open_base,
    _order_pieces,
    fit_replacement,
)
from vocabkit.configurations.settings import (
    ContinuedBpeConfig,
    ReplaceBpeConfig,
    VocabularyTables,
)
from vocabkit.configurations.shared import Fit, fit_shared
from vocabkit.configurations.two_stage import BlockBase
from vocabkit.core.config import find_preset, load_config, validate
from vocabkit.core.errors import ConfigError, CountsError, FitError, TokenizerError
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.extension.extend import extend_checkpoint
from vocabkit.extension.undo import undo_extension
from vocabkit.vocabulary.byte_level import BpeBase
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary

TEXTS = {
    "eng_Latn": language(1, 300, "bcdfghklmnprstaeiou"),
    "fra_Latn": language(5, 300, "bcdfglmnprstvàéiou"),
    "rus_Cyrl": language(6, 200, "бвгдклмнпрстаеиоу"),
    "yor_Latn": language(4, 150, "bdgjkmnrstwaeọẹu"),
    "kaz_Cyrl": language(7, 150, "бғқңмнпрстаеәөу"),
}
COUNTS = WordCounts.from_texts(TEXTS, held_out=0.3)
KEPT = ("eng_Latn", "fra_Latn")
SEEN = [*TEXTS["eng_Latn"], *TEXTS["fra_Latn"], *TEXTS["rus_Cyrl"]]
CODE = ["if x:\n\t\treturn    y  # a\n\n\n", "for i:\n\t\tprint(    y)\n\n\n"] * 40


def byte_level(ignore_merges: bool = False) -> dict[str, Any]:
    """Byte-level BPE of three languages and some code, with a special and an added token behind."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1_200, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    backend.train_from_iterator([*SEEN, *CODE], trainer)
    backend.add_special_tokens([AddedToken("<|end|>", special=True)])
    backend.add_tokens([AddedToken("ọmọ", normalized=False)])
    content: dict[str, Any] = json.loads(backend.to_str())
    content["model"]["ignore_merges"] = ignore_merges
    return content


def metaspace() -> dict[str, Any]:
    """BPE of Llama 2's kind, with merges written as one string each, as old files have them."""
    trained = Tokenizer(models.BPE(unk_token="<unk>"))
    trained.pre_tokenizer = pre_tokenizers.Metaspace()
    special = ["<unk>", "<s>", "</s>", *(f"<0x{value:02X}>" for value in range(256))]
    trained.train_from_iterator(
        SEEN, trainers.BpeTrainer(vocab_size=1_200, special_tokens=special, show_progress=False)
    )
    model = json.loads(trained.to_str())["model"]
    merges = [tuple(pair) for pair in model["merges"]]
    backend = Tokenizer(
        models.BPE(model["vocab"], merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True)
    )
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse()])
    backend.add_special_tokens(["<unk>", "<s>", "</s>"])
    content: dict[str, Any] = json.loads(backend.to_str())
    content["model"]["merges"] = [" ".join(pair) for pair in content["model"]["merges"]]
    return content


BASES = {"byte-level": byte_level(), "metaspace": metaspace(), "whole words": byte_level(ignore_merges=True)}


def configure(new: int = 60, learn: Sequence[str] = ("yor",), **tables: Any) -> ReplaceBpeConfig:
    given = {"keep": KEPT, "max_loss": 0.01, **tables.pop("replace", {})}
    data = {"tokens": {"new": new}, "languages": {"include": learn}, "replace": given, **tables}
    return validate(ReplaceBpeConfig, data, "test")


def fit(base: dict[str, Any], new: int = 60, **tables: Any) -> Fit[BpeBase]:
    return fit_replacement(COUNTS, configure(new, **tables), base=BpeBase("base", base))


def replace_bound(config: ReplaceBpeConfig, limit: float) -> ReplaceBpeConfig:
    return config.model_copy(update={"replace": config.replace.model_copy(update={"max_loss": limit})})


def list_dropped(fitted: Fit[Any]) -> list[int]:
    return [int(str(row["id"])) for row in fitted.tables["replaced"]]


def count_words(backend: Tokenizer, code: str, prefix: str) -> int:
    """Tokens of a language's held-out words, one by one."""
    table = COUNTS.languages[code].held_out
    found = backend.encode_batch([prefix + word for word in table.words], add_special_tokens=False)
    return sum(len(one.ids) * int(n) for one, n in zip(found, table.count, strict=True))


# --- Bpe -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", BASES)
def test_unused_ids_are_given_away_and_all_others_stay(name: str, tmp_path: Path) -> None:
    base = BASES[name]
    fitted = fit(base)
    fitted.save(tmp_path)
    old = Tokenizer.from_str(json.dumps(base)).get_vocab(with_added_tokens=True)
    after = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    new = after.get_vocab(with_added_tokens=True)
    dropped = set(list_dropped(fitted))
    assert len(dropped) == 60
    assert sorted(new.values()) == sorted(old.values())
    kept = {piece: index for piece, index in old.items() if index not in dropped}
    assert kept.items() <= new.items()
    named = {entry["id"] for entry in base["added_tokens"]}
    for piece, index in old.items():
        if index in dropped:
            assert len(piece) > 1
            assert index not in named
            assert not (len(piece) == 6 and piece.startswith("<0x"))
            # Counts say nothing of tabs, line ends and runs of spaces.
            assert not {"ĉ", "Ċ"} & set(piece)
            assert "ĠĠ" not in piece
    for piece, index in new.items():
        if index in dropped:
            assert [token.id for token in after.model.tokenize(piece)] == [index]


@pytest.mark.parametrize("room", ["unused", "residual"])
@pytest.mark.parametrize("name", BASES)
def test_no_kept_token_needs_one_that_went(name: str, room: str) -> None:
    base = BASES[name]
    learn = ["kaz"] if room == "residual" else ["yor"]
    fitted = fit(base, 300, learn=learn, replace={"make_room": room, "max_loss": 1.0})
    gone = {BpeBase("base", base).pieces[index] for index in list_dropped(fitted)}
    content = fitted.vocabulary.content["model"]
    pairs = [tuple(p.split(" ")) if isinstance(p, str) else tuple(p) for p in base["model"]["merges"]]
    # Trained merges: one for each token, so that a token needs both parts of it.
    kept = [pair for pair in pairs if "".join(pair) not in gone]
    assert len(gone) > 20
    assert not {part for pair in kept for part in pair} & gone
    left = content["merges"][: len(kept)]
    assert [tuple(p.split(" ")) if isinstance(p, str) else tuple(p) for p in left] == kept
    before, after = (Tokenizer.from_str(json.dumps(c)).model for c in (base, fitted.vocabulary.content))
    for piece, index in base["model"]["vocab"].items():
        if piece not in gone and [token.id for token in before.tokenize(piece)] == [index]:
            assert [token.id for token in after.tokenize(piece)] == [index]


@pytest.mark.parametrize("name", BASES)
@pytest.mark.parametrize("limit", [0.0, 0.002, 0.02])
def test_no_kept_language_loses_more_than_the_bound(name: str, limit: float, tmp_path: Path) -> None:
    fitted = fit(BASES[name], 900, tokens={"new": 900, "allow_fewer": True}, replace={"max_loss": limit})
    fitted.save(tmp_path)
    before = Tokenizer.from_str(json.dumps(BASES[name]))
    after = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    dropped = [BpeBase("base", BASES[name]).pieces[index] for index in list_dropped(fitted)]
    assert dropped
    prefix = "" if name == "metaspace" else " "
    for row in fitted.to_rows():
        code = str(row["language"])
        old, new = (count_words(backend, code, prefix) for backend in (before, after))
        assert (row["before"], row["after"], row["more"]) == (old, new, new - old)
        if row["role"] == "kept":
            assert new / old - 1 <= limit
            assert float(str(row["bare_loss"])) <= limit
    # Without anything in their place: the bound holds for what went, not only for what came.
    for code in KEPT:
        bare = Tokenizer.from_str(json.dumps(BpeBase("b", BASES[name]).replace(list_dropped(fitted)).content))
        assert count_words(bare, code, prefix) <= (1 + limit) * count_words(before, code, prefix)


def test_a_wider_bound_lets_more_tokens_go_and_says_where_it_ends() -> None:
    given = []
    for limit in (0.0, 0.005, 0.05):
        fitted = fit(BASES["byte-level"], tokens={"new": 900, "allow_fewer": True}, replace={"max_loss": limit})
        given.append(len(list_dropped(fitted)))
        assert fitted.size == len(BpeBase("base", BASES["byte-level"]).pieces)
    assert given[0] < given[1] < given[2]
    tight = fit(BASES["byte-level"], replace={"max_loss": 0.0}, tokens={"new": 900, "allow_fewer": True})
    assert any("replace.max_loss" in note for note in tight.warnings or ())


def test_lines_are_held_to_the_bound_too() -> None:
    """A line's first word has tokens without a space, which words after a space never use."""
    lines = [f"word{'abcdefg'[place % 7]} again" for place in range(400)]
    texts = {"eng_Latn": lines, "yor_Latn": TEXTS["yor_Latn"]}
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=400, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    turned = [" ".join(line.split()[::-1]) for line in lines]
    backend.train_from_iterator([*lines, *turned, *TEXTS["rus_Cyrl"]], trainer)
    base = BpeBase("base", json.loads(backend.to_str()))
    assert base.tokenizer.count_tokens([" wordc", "wordc"]).tolist() == [1, 1]
    starts = base.content["model"]["vocab"]["wordc"]
    data = {"tokens": {"new": 200, "allow_fewer": True}, "replace": {"max_loss": 0.0}}
    config = validate(ReplaceBpeConfig, {**data, "languages": {"include": ["yor"]}}, "test")
    counts = WordCounts.from_texts(texts, held_out=0.3)
    dropped = list_dropped(fit_replacement(counts, config, base=base))
    assert len(dropped) > 20
    assert starts not in dropped
    # The same words in one line: next to none starts a line, and the token may go.
    texts["eng_Latn"] = [" ".join(lines[place:]) for place in range(20)]
    joined = WordCounts.from_texts(texts, held_out=0.3)
    assert starts in list_dropped(fit_replacement(joined, replace_bound(config, 0.02), base=base))


@pytest.mark.parametrize("name", ["byte-level", "metaspace"])
def test_residual_tokens_make_room_and_the_rest_is_appended(name: str) -> None:
    base = BpeBase("base", BASES[name])
    fitted = fit(BASES[name], 400, learn=["kaz"], replace={"make_room": "residual"})
    dropped = list_dropped(fitted)
    assert 50 < len(dropped) < 400
    assert fitted.size == base.size - len(dropped) + 400
    assert fitted.vocabulary.new_ids == (*dropped, *range(base.size, fitted.size))
    for index in dropped:
        text = (base.tokenizer.token_bytes(index) or b"").decode(errors="ignore").strip()
        assert text
        assert all("\u0400" <= char <= "\u04ff" for char in text)
    few = fit(BASES[name], 30, learn=["kaz"], replace={"make_room": "residual"})
    assert (len(list_dropped(few)), few.size) == (30, base.size)


def test_letters_of_a_kept_language_are_not_residual() -> None:
    base = BpeBase("base", BASES["metaspace"])
    sides = ([COUNTS.languages[code] for code in codes] for codes in (["fra_Latn"], ["eng_Latn", "rus_Cyrl"]))
    may = _find_droppable(base)
    found = [base.pieces[index] for index in np.flatnonzero(_find_residual(base, *sides) & may).tolist()]
    assert found
    assert all(set(piece) & set("àév") for piece in found)
    sides = ([COUNTS.languages[code] for code in codes] for codes in (["kaz_Cyrl"], ["eng_Latn", "rus_Cyrl"]))
    assert not any(
        set(base.pieces[k]) <= set("▁бвгдклмнпрстаеиоу")
        for k in np.flatnonzero(_find_residual(base, *sides)).tolist()
    )


def test_a_token_learnt_again_keeps_its_id() -> None:
    base = BpeBase("base", BASES["byte-level"])
    fitted = fit(BASES["byte-level"], 500, learn=["rus"], replace={"make_room": "residual"})
    again = [row for row in fitted.tables["replaced"] if row["dropped"] == row["new"]]
    assert len(again) > 50
    assert fitted.details["learnt_again"] == len(again)
    back = {piece: index for index, piece in fitted.vocabulary.pieces.items()}
    for index in list_dropped(fitted):
        assert back.get(base.pieces[index], index) == index


def test_what_nobody_uses_goes_first() -> None:
    fitted = fit(BASES["byte-level"], 40, replace={"max_loss": 0.0})
    assert all(row["kept_use"] == row["new_use"] == 0 for row in fitted.tables["replaced"])


def test_nothing_to_replace_learns_what_continued_bpe_does() -> None:
    base = {**BASES["byte-level"], "model": {**BASES["byte-level"]["model"]}}
    fitted = fit(base, 40, replace={"make_room": "residual", "keep": ["eng", "fra", "kaz", "rus"]})
    config = validate(ContinuedBpeConfig, {"tokens": {"new": 40}, "languages": {"include": ["yor"]}}, "test")
    assert not list_dropped(fitted)
    assert (
        fitted.vocabulary.content == continue_bpe(COUNTS, config, base=BpeBase("base", base)).vocabulary.content
    )


@pytest.mark.parametrize("name", BASES)
def test_parts_are_those_of_the_library(name: str) -> None:
    base = BpeBase("base", BASES[name])
    parts = base.find_parts()
    model = Tokenizer.from_str(
        json.dumps({**base.content, "model": {**base.content["model"], "ignore_merges": False}})
    ).model
    pairs = [tuple(p.split(" ")) if isinstance(p, str) else tuple(p) for p in base.content["model"]["merges"]]
    ids = base.content["model"]["vocab"]
    made = {ids[left + right]: (ids[left], ids[right]) for left, right in pairs}
    for piece, index in ids.items():
        whole = [token.id for token in model.tokenize(piece)] == [index]
        assert (parts.get(index) == made.get(index)) if whole else index not in parts


def test_a_model_is_extended_and_given_back(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(BASES["byte-level"]), encoding="utf-8")
    (folder / "tokenizer_config.json").write_text('{"eos_token": "<|end|>"}', encoding="utf-8")
    size = BpeBase("base", BASES["byte-level"]).size
    config = {"model_type": "llama", "architectures": ["LlamaForCausalLM"], "vocab_size": size}
    end = next(entry["id"] for entry in BASES["byte-level"]["added_tokens"] if entry["content"] == "<|end|>")
    config |= {"tie_word_embeddings": True, "eos_token_id": end}
    (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
    rows = np.random.default_rng(3).normal(size=(size, 8)).astype(np.float32)
    save_file({"model.embed_tokens.weight": rows}, folder / "model.safetensors")
    before = snapshot(folder)
    fitted = fit_replacement(COUNTS, configure(), base=BpeBase.read(folder))
    fitted.save(tmp_path / "tok")
    done = extend_checkpoint(folder, tmp_path / "tok", tmp_path / "out")
    assert done.plan.mode == "replace"
    found = load_file(tmp_path / "out" / "model.safetensors")["model.embed_tokens.weight"]
    assert found.shape == rows.shape
    given = list_dropped(fitted)
    others = np.setdiff1d(np.arange(size), given)
    np.testing.assert_array_equal(found[others], rows[others])
    assert (found[given] != rows[given]).any(axis=1).all()
    assert json.loads((tmp_path / "out" / "config.json").read_text())["eos_token_id"] == end
    undo_extension(tmp_path / "out", tmp_path / "back")
    assert snapshot(tmp_path / "back") == before


def test_equal_input_gives_equal_files(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fit(BASES["byte-level"]).save(tmp_path / name)
    first, second = snapshot(tmp_path / "a"), snapshot(tmp_path / "b")
    assert {n: data for n, data in first.items() if n != "manifest.json"} == {
        n: data for n, data in second.items() if n != "manifest.json"
    }
    again = Fit.load(tmp_path / "a")
    assert again.tables["replaced"] == tuple(fit(BASES["byte-level"]).tables["replaced"])


# --- Unigram ---------------------------------------------------------------------------------------

_SHARED = {"size": 1_500, "byte_fallback": False}


@pytest.fixture(scope="module")
def pieces() -> Vocabulary:
    """A unigram vocabulary of the three languages, fitted on other counts than those of the test."""
    counts = WordCounts.from_texts({code: TEXTS[code] for code in (*KEPT, "rus_Cyrl")})
    config = validate(VocabularyTables, {"vocabulary": _SHARED, "coverage": {"character": 1.0}}, "test")
    return fit_shared(counts, config).vocabulary


def fit_pieces(base: Vocabulary, new: int = 80, **tables: Any) -> Fit[Vocabulary]:
    return fit_replacement(COUNTS, configure(new, **tables), base=BlockBase(base, "nmt_nfkc", {}))


@pytest.mark.parametrize("limit", [0.0, 0.01])
def test_pieces_are_replaced_within_the_bound(pieces: Vocabulary, limit: float, tmp_path: Path) -> None:
    fitted = fit_pieces(pieces, replace={"max_loss": limit})
    fitted.save(tmp_path)
    dropped = set(list_dropped(fitted))
    assert len(dropped) == 80 if limit else 40 < len(dropped) <= 80
    assert fitted.size == pieces.size
    for index, (piece, kind) in enumerate(zip(pieces.pieces, pieces.kinds, strict=True)):
        if index in dropped:
            assert kind is Kind.NORMAL
            assert len(piece) > 1
        else:
            assert fitted.vocabulary.pieces[index] == piece
            assert fitted.vocabulary.scores[index] == pieces.scores[index]
    pieces.save(tmp_path / "base")
    before, after = (
        sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
        for folder in (tmp_path / "base", tmp_path)
    )
    written = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    for row in fitted.to_rows():
        table = COUNTS.languages[str(row["language"])].held_out
        words = list(table.words)
        old, new = (
            sum(len(ids) * int(n) for ids, n in zip(one.encode(words), table.count, strict=True))
            for one in (before, after)
        )
        same = [one.ids for one in written.encode_batch(words, add_special_tokens=False)]
        assert same == after.encode(words)
        assert (row["before"], row["after"]) == (old, new)
        if row["role"] == "kept":
            assert new / old - 1 <= limit
        elif row["role"] == "new":
            assert new < 0.8 * old
    # ọ and ẹ, which the base lacks, are pieces now.
    assert not any(after.unk_id() in ids for ids in after.encode(TEXTS["yor_Latn"]))


def test_residual_pieces_make_room(pieces: Vocabulary) -> None:
    fitted = fit_pieces(pieces, 600, learn=["kaz"], replace={"make_room": "residual"})
    dropped = list_dropped(fitted)
    assert 100 < len(dropped) < 600
    assert fitted.size == pieces.size - len(dropped) + 600
    assert fitted.vocabulary.blocks[-1].stop == fitted.size
    assert all(script == "Cyrl" for script in map(_script, (pieces.pieces[k] for k in dropped)))
    back = {piece: index for index, piece in enumerate(fitted.vocabulary.pieces)}
    assert all(back.get(pieces.pieces[k], k) == k for k in dropped)


def _script(piece: str) -> str:
    return "Cyrl" if all("\u0400" <= char <= "\u04ff" for char in piece.strip("▁")) else "other"


def test_pieces_with_a_letter_of_their_own_stay(pieces: Vocabulary) -> None:
    """A vocabulary may hold a letter within longer pieces alone: losing the last would lose the letter."""
    lone = next(k for k, piece in enumerate(pieces.pieces) if piece == "у")
    kinds = list(pieces.kinds)
    kinds[lone] = Kind.UNUSED
    base = Vocabulary(
        pieces.pieces,
        pieces.scores.copy(),
        tuple(kinds),
        pieces.blocks,
        pieces.model,
        pieces.normalizer,
        pieces.roles,
    )
    fitted = fit_pieces(base, 300, replace={"max_loss": 1.0})
    assert not any("у" in base.pieces[index] for index in list_dropped(fitted))


def test_the_order_of_pieces_is_that_of_their_cost(pieces: Vocabulary) -> None:
    """Brute force: dropping one piece costs its uses times the pieces more that SentencePiece needs for it."""
    normal = [k for k in pieces.ids_of(Kind.NORMAL) if len(pieces.pieces[k]) > 1][:200]
    chosen = np.zeros(pieces.size, np.bool_)
    chosen[normal] = True
    use = np.zeros((1, pieces.size))
    use[0, normal] = np.random.default_rng(5).integers(1, 50, len(normal))
    first = _order_pieces(pieces, chosen, use, 1)[0]

    def cost(index: int) -> float:
        scores = {p: float(pieces.scores[k]) for k, p in enumerate(pieces.pieces) if k != index and p}
        text = pieces.pieces[index]
        best = {0: (0.0, 0)}
        for stop in range(1, len(text) + 1):
            options = [
                (best[at][0] + scores[text[at:stop]], best[at][1] + 1)
                for at in range(stop)
                if text[at:stop] in scores
            ]
            best[stop] = max(options)
        return float(use[0, index]) * max(best[len(text)][1] - 1, 1)

    assert cost(first) == min(map(cost, normal))


# --- Mistakes --------------------------------------------------------------------------------------


def test_sides_are_the_rest_where_they_are_not_named() -> None:
    both = _choose_sides(COUNTS, configure(replace={"keep": ()}))
    assert both == (("yor_Latn",), ("eng_Latn", "fra_Latn", "kaz_Cyrl", "rus_Cyrl"))
    assert _choose_sides(COUNTS, configure(learn=())) == (("kaz_Cyrl", "rus_Cyrl", "yor_Latn"), KEPT)


@pytest.mark.parametrize(
    ("config", "error", "said"),
    [
        (configure(learn=["eng", "yor"]), ConfigError, "eng_Latn: kept, and to get new tokens"),
        (configure(learn=(), replace={"keep": ()}), ConfigError, "no language learns"),
        (configure(replace={"keep": ["swh_Latn"]}), CountsError, "swh_Latn"),
        (configure(50_000, replace={"max_loss": 1.0}), FitError, "more than yor_Latn can support"),
    ],
)
def test_what_cannot_be_is_refused(config: ReplaceBpeConfig, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        fit_replacement(COUNTS, config, base=BpeBase("base", BASES["byte-level"]))


def test_a_base_is_needed_and_read_for_what_it_is(pieces: Vocabulary, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="needs the tokenizer"):
        fit_replacement(COUNTS, configure())
    with pytest.raises(ConfigError, match="no such folder or file"):
        _open_base(str(tmp_path / "nothing"))
    pieces.save(tmp_path / "unigram")
    for path in (tmp_path / "unigram", tmp_path / "unigram" / "tokenizer.model"):
        found = _open_base(str(path))
        assert isinstance(found, BlockBase)
        assert found.vocabulary == pieces
    (tmp_path / "unigram" / "tokenizer.model").unlink()
    like_xlm_roberta(pieces).save(str(tmp_path / "unigram" / "tokenizer.json"))
    named = _open_base(str(tmp_path / "unigram"))
    assert isinstance(named, BlockBase)
    assert named.vocabulary.pieces == pieces.pieces
    (tmp_path / "tokenizer.json").write_text(json.dumps(BASES["byte-level"]), encoding="utf-8")
    assert isinstance(_open_base(str(tmp_path)), BpeBase)
    (tmp_path / "vocab.txt").write_text("[UNK]\na\n##b\n", encoding="utf-8")
    with pytest.raises(TokenizerError):
        _open_base(str(tmp_path / "vocab.txt"))


def test_weights_are_refused_for_pieces(pieces: Vocabulary) -> None:
    table = {"include": ["yor"], "weighting": "uniform"}
    with pytest.raises(ConfigError, match="unigram base"):
        fit_pieces(pieces, languages=table)


@pytest.mark.parametrize("said", ["0.1%", "0.1 %", 0.001])
def test_a_share_may_be_written_with_a_percent_sign(said: object) -> None:
    assert configure(replace={"max_loss": said}).replace.max_loss == pytest.approx(0.001)


def test_the_preset_is_valid() -> None:
    assert load_config(ReplaceBpeConfig, find_preset("replace-bpe", "fit")).replace.max_loss == 0.001
