"""The cost of sharing on counts small enough to fit in a second; slow where the trainer is not yet compiled."""

import io
import random
from pathlib import Path

import pytest
import sentencepiece

from vocabkit.auditing.figures import Figure
from vocabkit.auditing.sharing import (
    _count_pieces,
    _fit_alone,
    _sum_tokens,
    cost_of_sharing,
)
from vocabkit.corpus.compilation import open_workers
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.vocabulary.adapters import Tokenizer
from vocabkit.vocabulary.tokenizers import open_tokenizer

pytestmark = pytest.mark.slow


def draw_lines(letters: str, seed: int) -> list[str]:
    """Words of a made-up language with few syllables, so that pieces pay."""
    generator = random.Random(seed)
    syllables = ["".join(generator.sample(letters, 2)) for _ in range(20)]
    words = ["".join(generator.choices(syllables, k=generator.randint(1, 4))) for _ in range(300)]
    return [" ".join(generator.choices(words, k=8)) for _ in range(250)]


TEXTS = {"eng_Latn": draw_lines("abcdefgh", 1), "rus_Cyrl": draw_lines("абвгдежз", 2)}


def train(folder: Path, size: int, texts: list[str], *, fallback: bool = True) -> Tokenizer:
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=size,
        byte_fallback=fallback,
        hard_vocab_limit=False,
        minloglevel=2,
    )
    path = folder / f"{size}.model"
    path.write_bytes(model.getvalue())
    return open_tokenizer(path)


def measure(tokenizer: Tokenizer, counts: WordCounts) -> dict[tuple[str, str], Figure]:
    figures = cost_of_sharing("t", tokenizer, counts, list(counts.languages), threads=1)
    return {(figure.metric, figure.name): figure for figure in figures}


def test_the_ratio_is_of_both_costs(tmp_path: Path) -> None:
    counts = WordCounts.from_texts(TEXTS)
    tokenizer = train(tmp_path, 420, TEXTS["eng_Latn"] + TEXTS["rus_Cyrl"][:60])
    processor = sentencepiece.SentencePieceProcessor(model_file=str(tmp_path / "420.model"))
    found = measure(tokenizer, counts)
    for code, lines in TEXTS.items():
        encoded = [processor.encode(word) for line in lines for word in line.split()]
        words, tokens = len(encoded), sum(map(len, encoded))
        alone = found["fertility_alone", code].value
        shared = found["cost_of_sharing", code].value
        assert alone is not None
        assert shared is not None
        assert alone * shared == pytest.approx(tokens / words)
        pieces = {i for ids in encoded for i in ids if not processor.is_byte(i)}
        assert _count_pieces(tokenizer, counts.languages[code].train) == len(pieces)
        assert f"alone: {len(pieces)} pieces" in (found["cost_of_sharing", code].note or "")
        assert found["cost_of_sharing", code].n == words


def test_a_vocabulary_of_its_own_costs_what_it_costs(tmp_path: Path) -> None:
    counts = WordCounts.from_texts({"eng_Latn": TEXTS["eng_Latn"]})
    with open_workers(1) as workers:
        own, size = _fit_alone(counts, "eng_Latn", 120, workers)
    assert size == 120
    found = measure(own, counts)
    assert found["cost_of_sharing", "eng_Latn"].value == pytest.approx(1.0, abs=0.02)
    table = counts.languages["eng_Latn"].train
    assert _sum_tokens(own, table) == sum(
        len(ids) * int(count)
        for ids, count in zip(own.encode_batch(list(table.words)), table.count, strict=True)
    )


def test_lost_text_and_crossing_pieces_have_no_cost(tmp_path: Path) -> None:
    counts = WordCounts.from_texts(TEXTS)
    tokenizer = train(tmp_path, 100, TEXTS["eng_Latn"], fallback=False)
    found = measure(tokenizer, counts)
    assert found["cost_of_sharing", "eng_Latn"].value is not None
    assert found["cost_of_sharing", "rus_Cyrl"].value is None
    assert "lost" in (found["cost_of_sharing", "rus_Cyrl"].note or "")
    with pytest.MonkeyPatch.context() as patch:
        reason = property(lambda _: "a piece crosses a space")
        patch.setattr(type(tokenizer), "exact_on_words", reason)
        withheld = cost_of_sharing("t", tokenizer, counts, ["eng_Latn"], threads=1)
    assert [(f.value, f.note) for f in withheld] == [(None, "a piece crosses a space")] * 2
