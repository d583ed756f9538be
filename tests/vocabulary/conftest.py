"""Small vocabularies trained in the test process by SentencePiece itself, the oracle of these tests."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from functools import cache

import pytest
import sentencepiece

from vocabkit.corpus.normalization import load_normalizer
from vocabkit.vocabulary.vocabulary import Kind, Vocabulary, assemble_vocabulary, read_model

SENTENCES = (
    "The quick brown fox jumps over the lazy dog while 12 people look at 34 small birds.",
    "Ó ní òun fẹ́ ra ọ̀pọ̀lọpọ̀ ẹ̀wà ní ọjà Ọ̀yọ́, ṣùgbọ́n kò sí owó.",
    "Tiếng Việt có nhiều dấu thanh: ngã, hỏi, nặng, sắc và huyền ở những chữ như ế ề ể ễ ệ.",
    "यह एक छोटा वाक्य है जिसमें क़लम और ज़मीन जैसे शब्द १२३ बार आते हैं।",
    "هذه جملة قصيرة فيها كلمات مثل القرآن والمؤمنين، مع بعض التشكيل: كَتَبَ الوَلَدُ الدَّرْسَ.",
    "한국어 문장은 띄어쓰기가 있고 글자는 음절로 모아 씁니다.",
    "日本語の文には空白がなく、カタカナやひらがなが混ざります。",
    "Η γρήγορη αλεπού πηδά πάνω από τον τεμπέλη σκύλο, ᾧ ἄνδρες Ἀθηναῖοι.",
    "বাংলা ভাষায় কো ও কৌ লেখা হয়; তারা পড়ে আর বড়ো হয়।",
)


def sample_lines(count: int, seed: int) -> list[str]:
    """Lines of words shuffled between the sentences, many with a rare symbol or decomposed letters."""
    choose = random.Random(seed)
    words = [word for sentence in SENTENCES for word in sentence.split()]
    lines = []
    for _ in range(count):
        start = choose.choice(SENTENCES).split()
        line = choose.sample(start, len(start)) + choose.choices(words, k=choose.randrange(8))
        lines.append(choose.choice((" ", " ", "  ")).join(line))
    return lines


@cache
def train(model: str, byte_fallback: bool, text: tuple[str, ...] | None = None) -> bytes:
    output = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(text or sample_lines(600, seed=1)),
        model_writer=output,
        model_type=model,
        vocab_size=560 if byte_fallback else 420,
        byte_fallback=byte_fallback,
        character_coverage=0.998,
        hard_vocab_limit=False,
        num_threads=1,
        minloglevel=2,
    )
    return output.getvalue()


@cache
def build(model: str, byte_fallback: bool, normalizer: str = "nmt_nfkc") -> Vocabulary:
    found = read_model(train(model, byte_fallback))
    usable = [index for index, kind in enumerate(found.kinds) if kind is Kind.NORMAL]
    return assemble_vocabulary(
        [found.pieces[index] for index in usable],
        found.scores[usable],
        found.model,
        load_normalizer(normalizer),
        reserved=3,
        byte_fallback=byte_fallback,
    )


@pytest.fixture(scope="session")
def trained() -> Callable[[str, bool], bytes]:
    """`trained(model, byte_fallback)`: the bytes of a .model as SentencePiece wrote it."""
    return train


@pytest.fixture(scope="session")
def built() -> Callable[..., Vocabulary]:
    """`built(model, byte_fallback, normalizer)`: the same pieces as a vocabulary of ours."""
    return build


@pytest.fixture(scope="session")
def lines() -> list[str]:
    """Text the vocabularies were not trained on."""
    return sample_lines(150, seed=2)
