"""How texts are put together from words: with what spaces, and with what capitals.

A text is read as words in lower case and runs of punctuation. To write it again, a space stands between two words; next
to punctuation one stands where one most often stood at training, given the punctuation and whether letters or digits
are beside it. A word has the capitals that it most often had.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

__all__ = ["Spelling", "spell"]

Split = Callable[[str], list[tuple[str, tuple[int, int]]]]

ENDS = (".", "!", "?")
"""Marks behind which a sentence begins."""
LETTERS, DIGITS, MARKS = "a", "0", "p"
"""What may stand beside punctuation, which has no such characters."""


class Spelling(NamedTuple):
    """How words and punctuation are written."""

    words: tuple[str, ...]
    """The words of a vocabulary with their capitals."""
    glued: tuple[str, ...]
    """Punctuation, and on the side where no space stands `a` for letters, `0` for digits, `p` for punctuation."""
    capitalized: bool
    """Whether sentences begin with a capital."""

    @classmethod
    def learn(cls, texts: Iterable[str], vocabulary: Sequence[str], split: Split | None = None) -> Spelling:
        """The spelling of training texts.

        Arguments:
            texts: To learn from.
            vocabulary: The words, in lower case.
            split: Gives a text's words and marks, and where each begins and ends; by default as tokenizers' Whitespace.

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
        return cls(words, tuple(sorted({*_glued(spaces)})), capitalized)


def spell(words: Iterable[tuple[str, str]], spelling: Spelling, letter: re.Pattern[str] | None = None) -> str:
    """Words in lower case, each with its capitals, as a text in this spelling.

    Arguments:
        words: In lower case, and as they are written.
        spelling: That of training texts.
        letter: Matches words between which no space stands: the letters of scripts that have none.
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
    """A word as it is most often written within a sentence; one that only begins sentences as it begins them."""
    if word in others:
        return others[word].most_common(1)[0][0]
    made = firsts[word].most_common(1)[0][0] if word in firsts else word
    return word if capitalized and made[1:] == word[1:] else made


def _between(left: str, right: str) -> list[str]:
    """What the space between two depends on; nothing between words."""
    keys = [f"{left}{_side(right, 0)}"] * (_side(left, -1) == MARKS)
    return keys + [f"{_side(left, -1)}{right}"] * (_side(right, 0) == MARKS and left != "")


def _side(word: str, place: int) -> str:
    letter = word[place : place + 1 or None]
    return DIGITS if letter.isdecimal() else LETTERS if letter.isalnum() or letter == "_" else MARKS if letter else ""


def _glued(spaces: dict[str, Counter[bool]]) -> Iterable[str]:
    """Where no space stands; what was not seen beside a mark is as most of what was."""
    for key in spaces:
        before = key[0] in (LETTERS, DIGITS, MARKS)
        mark = key[1:] if before else key[:-1]
        sides = [f"{side}{mark}" if before else f"{mark}{side}" for side in (LETTERS, DIGITS, MARKS)]
        whole = sum((spaces[side] for side in sides if side in spaces), Counter())
        for side in sides:
            seen = spaces.get(side, whole)
            if seen[False] > seen[True]:
                yield side
