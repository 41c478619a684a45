"""Spelling of texts: restores spaces and capitals when words are joined to a text.

A text is read as lower-case words and runs of punctuation. When it is written, there is a space between two words. The
space next to punctuation is the most frequent choice in the training texts for this punctuation next to letters,
digits or other punctuation. A word gets its most frequent capitalisation in the training texts.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

__all__ = ["Spelling", "spell"]

Split = Callable[[str], list[tuple[str, tuple[int, int]]]]

ENDS = (".", "!", "?")
"""Punctuation marks that end a sentence."""
LETTERS, DIGITS, MARKS = "a", "0", "p"
"""Codes for the types of neighbours of punctuation. Punctuation itself never contains these characters."""


class Spelling(NamedTuple):
    """The spelling of words and punctuation."""

    words: tuple[str, ...]
    """Words of a vocabulary with their capitals."""
    glued: tuple[str, ...]
    """Punctuation without a space on one side.

    That side has the type of the neighbour: `a` for letters, `0` for digits, `p` for punctuation.
    """
    capitalized: bool
    """Whether sentences begin with a capital letter."""

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: Sequence[str], split: Split | None = None) -> Spelling:
        """Learns the spelling of training texts.

        Arguments:
            texts: Texts to learn from.
            vocabulary: Words in lower case.
            split: Function that splits a text into words and punctuation, with the start and end of each; by default
                the `Whitespace` pre-tokenizer of tokenizers.

        Example:
            >>> spelling = Spelling.learn(["The 3.5L V-8 (NEW)", "A V-6, used"], ("the", "v", "new"))
            >>> spelling.words, spelling.capitalized
            (('the', 'V', 'NEW'), True)
            >>> words = {"the": "the", "v": "V", "-": "-", "8": "8", "(": "(", "new": "NEW", ")": ")"}
            >>> spell([*words.items()], spelling)
            'The V-8 (NEW)'
        """
        from tokenizers.pre_tokenizers import Whitespace

        split = split or Whitespace().pre_tokenize_str
        begun: Counter[bool] = Counter()
        firsts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        others: defaultdict[str, Counter[str]] = defaultdict(Counter)
        spaces: defaultdict[str, Counter[bool]] = defaultdict(Counter)
        for text in texts:
            before, end = "", 0
            for word, (start, stop) in split(text):
                first = not before or (before.endswith(ENDS) and start > end)
                (firsts if first else others)[word.lower()][word] += 1
                if first and _side(word, 0) == LETTERS and word[0].lower() != word[0].upper():
                    begun[word[0].isupper()] += 1
                for key in _between(before, word):
                    spaces[key][start > end] += 1
                before, end = word, stop
        capitalized = begun[True] > begun[False]
        words = tuple(_most(word, others, firsts, capitalized) for word in vocabulary)
        return cls(words, tuple(sorted({*_find_unspaced(spaces)})), capitalized)


def spell(words: Iterable[tuple[str, str]], spelling: Spelling, letter: re.Pattern[str] | None = None) -> str:
    """Joins words to a text in this spelling.

    Arguments:
        words: Pairs of a word in lower case and the same word with its capitals.
        spelling: Spelling learned from the training texts.
        letter: Pattern of words that are joined without a space: the letters of scripts without spaces.
    """
    text, before = "", ""
    for word, made in words:
        glued = any(key in spelling.glued for key in _between(before, word))
        glued = glued or (letter is not None and bool(letter.fullmatch(before) and letter.fullmatch(word)))
        first = not before or (before.endswith(ENDS) and not glued)
        if spelling.capitalized and first and made == word:
            made = made[:1].upper() + made[1:]
        text += made if glued or not before else f" {made}"
        before = word
    return text


def _most(word: str, others: dict[str, Counter[str]], firsts: dict[str, Counter[str]], capitalized: bool) -> str:
    """Returns a word's most frequent spelling within sentences, or at their beginning if it occurs only there."""
    if word in others:
        return others[word].most_common(1)[0][0]
    made = firsts[word].most_common(1)[0][0] if word in firsts else word
    return word if capitalized and made[1:] == word[1:] else made


def _between(left: str, right: str) -> list[str]:
    """Returns the keys that determine the space between two words or marks; none if both are words."""
    keys = [f"{left}{_side(right, 0)}"] * (_side(left, -1) == MARKS)
    return keys + [f"{_side(left, -1)}{right}"] * (_side(right, 0) == MARKS and left != "")


def _side(word: str, place: int) -> str:
    letter = word[place : place + 1 or None]
    return DIGITS if letter.isdecimal() else LETTERS if letter.isalnum() or letter == "_" else MARKS if letter else ""


def _find_unspaced(spaces: dict[str, Counter[bool]]) -> Iterable[str]:
    """Yields the keys without a space. For neighbours that never occur next to a mark, the majority decides."""
    for key in spaces:
        before = key[0] in (LETTERS, DIGITS, MARKS)
        mark = key[1:] if before else key[:-1]
        sides = [f"{side}{mark}" if before else f"{mark}{side}" for side in (LETTERS, DIGITS, MARKS)]
        whole = sum((spaces[side] for side in sides if side in spaces), Counter())
        for side in sides:
            seen = spaces.get(side, whole)
            if seen[False] > seen[True]:
                yield side
