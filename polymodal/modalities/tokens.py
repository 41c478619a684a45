"""Tokenisers of texts: words of scripts with spaces, letters of scripts without spaces between words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from tokenizers import Tokenizer

__all__ = [
    "END",
    "LETTER",
    "PADDING",
    "SPECIAL",
    "UNKNOWN",
    "count_tokens",
    "create_tokenizer",
    "is_unspaced",
    "join_words",
    "load_tokenizer",
    "mean_words",
]

PADDING, END, UNKNOWN = 0, 1, 2
"""Special tokens. The tokens of words start at 3."""

SPECIAL = ("[PAD]", "[END]", "[UNK]")

UNSPACED = "".join(
    f"{chr(first)}-{chr(last)}"
    for first, last in (
        (0x0E00, 0x0EFF),  # Thai, Lao
        (0x0F00, 0x109F),  # Tibetan, Burmese
        (0x1780, 0x17FF),  # Khmer
        (0x3005, 0x3007),  # Chinese and Japanese, here and below
        (0x3040, 0x30FF),
        (0x3400, 0x4DBF),
        (0x4E00, 0x9FFF),
        (0xF900, 0xFAFF),
        (0xFF66, 0xFF9F),
        (0x20000, 0x3134F),
    )
)
"""Letters of scripts without spaces between words, as ranges of a regular expression."""
LETTER = re.compile(f"[{UNSPACED}]")
RUN = re.compile(f"[{UNSPACED}]{{2}}")
ENOUGH = 0.1
"""Minimum fraction of texts with two adjacent letters of these scripts for which each such letter is a token."""


def is_unspaced(texts: Sequence[str]) -> bool:
    """Checks whether at least 10 % of the texts have two adjacent letters of a script without spaces between words.

    Example:
        >>> is_unspaced(["一只小鸟", "a bird"]), is_unspaced(["นกตัวเล็ก"]), is_unspaced(["a bird", "ein Vogel"])
        (True, True, False)
    """
    return bool(texts) and sum(RUN.search(text) is not None for text in texts) >= ENOUGH * len(texts)


def count_tokens(texts: Sequence[str]) -> list[int]:
    """Counts the tokens of each text, without the end token, as if the vocabulary was learned from these texts.

    Example:
        >>> count_tokens(["a bird!", "birds"]), count_tokens(["小鸟 2"])
        ([3, 1], [3])
    """
    split = create_tokenizer(split=is_unspaced(texts)).pre_tokenizer.pre_tokenize_str  # pyright: ignore[reportOptionalMemberAccess]
    return [len(split(text)) for text in texts]


def mean_words(texts: Sequence[str]) -> float:
    """Returns the mean number of words per text; for scripts without spaces, half the mean number of tokens.

    Example:
        >>> mean_words(["a bird", "a red bird!", "birds"])
        2.0
    """
    if is_unspaced(texts):
        return float(np.mean(count_tokens(texts))) / 2
    return float(np.mean([len(text.split()) for text in texts]))


def join_words(words: Sequence[str]) -> str:
    """Joins words by spaces, except letters of scripts without spaces."""

    def parts() -> Iterator[str]:
        for before, word in zip(["", *words], words, strict=False):
            yield " " if before and not (LETTER.fullmatch(before) and LETTER.fullmatch(word)) else ""
            yield word

    return "".join(parts())


def create_tokenizer(split: bool) -> Tokenizer:
    """Creates a tokenizer without a vocabulary. If `split`, it splits scripts without spaces into letters.

    Older vocabularies contain complete clauses of these scripts, for which `split` must be False.
    """
    from tokenizers import Regex, Tokenizer, pre_tokenizers
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase

    tokenizer: Any = Tokenizer(WordLevel({}, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = Lowercase()
    words = pre_tokenizers.Whitespace()
    letters = pre_tokenizers.Split(Regex(LETTER.pattern), "isolated")
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([letters, words]) if split else words
    return tokenizer


@lru_cache(maxsize=64)
def load_tokenizer(vocabulary: tuple[str, ...], length: int) -> Tokenizer:
    """Returns the tokeniser that converts a text to `length` tokens. The latest ones are cached."""
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing

    letters = [word for word in vocabulary if LETTER.search(word)]
    tokenizer: Any = create_tokenizer(split=bool(letters) and max(map(len, letters)) == 1)
    words = {word: i for i, word in enumerate(SPECIAL + vocabulary)}
    tokenizer.model = WordLevel(words, unk_token=SPECIAL[UNKNOWN])
    tokenizer.post_processor = TemplateProcessing(single=f"$A {SPECIAL[END]}", special_tokens=[(SPECIAL[END], END)])
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=PADDING, pad_token=SPECIAL[PADDING])
    return tokenizer
