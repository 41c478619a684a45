"""Words."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polymodal.modalities.arguments import note
from polymodal.modalities.base import check_counts
from polymodal.modalities.cells import Column, missing, observed, texts
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import DISCRETE, Choice
from polymodal.modalities.dates import learn_date_format, read_date, write_date
from polymodal.modalities.spelling import Spelling, spell
from polymodal.networks import TokenEncoder, mlp
from polymodal.runtime.validation import check_names

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd
    from tokenizers import Tokenizer

__all__ = ["END", "PADDING", "UNKNOWN", "Text", "count_tokens", "is_unspaced"]

PADDING, END, UNKNOWN = 0, 1, 2
"""Tokens that stand for no word; words are counted from 3."""

MOST_LAYERS = 1000
"""A file must not describe a tower that takes hours to make."""

LOOKED_AT = 10_000
"""Texts whose spelling is learned."""

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
"""Letters of scripts that put no blanks between words, as ranges of a regular expression."""
LETTER = re.compile(f"[{UNSPACED}]")
RUN = re.compile(f"[{UNSPACED}]{{2}}")
ENOUGH = 0.1
"""The share of texts with such letters beside each other from which on each letter is a token."""


@dataclass(frozen=True)
class Text(Costed):
    """A text of at most `length` tokens: int64, `(length,)`: words, an end token, padding.

    Texts are put in lower case and split at white space and punctuation. Scripts that put no blanks between words
    (Chinese, Japanese, Thai, Khmer, Lao, Burmese, Tibetan) are split into their letters, if the texts that the words
    were learned from have them. Longer texts are cut, and an unknown word becomes the unknown token.

    Arguments:
        length: Number of tokens L, the end token among them.
        vocabulary: The words, in the order of their tokens. `Text.learn` takes them from texts.
        width: Size of an embedding; 512 in the paper, as below.
        layers: Transformer layers of the encoder, at most 1000.
        heads: Attention heads per layer.
        feedforward: Size of the hidden layer within each transformer layer.
        dropout: Probability within the encoder.
        hidden: Sizes of the hidden layers of the decoder.
        cost: "categorical" or "l2" (the paper's, against one-hot codes).
        spellings: The words as training texts write them, with their capitals.
        glued: Where no space stands beside punctuation, as `polymodal.modalities.spelling` has it.
        capitalized: Whether sentences begin with a capital.
        dates: The format of a column of dates, as `polymodal.modalities.dates` has it.

    Example:
        >>> caption = Text.learn(["a red bird", "a blue bird"], length=5)
        >>> caption.vocabulary
        ('a', 'bird', 'blue', 'red')
        >>> caption.read("A green bird")
        tensor([3, 2, 4, 1, 0])
        >>> caption.write(caption.read("A green bird"))
        'a [UNK] bird'
    """

    length: int
    vocabulary: tuple[str, ...]
    width: int = 512
    layers: int = 4
    heads: int = 4
    feedforward: int = 1024
    dropout: float = 0.5
    hidden: tuple[int, ...] = (512,)
    cost: Choice = Choice(DISCRETE, "categorical")
    spellings: tuple[str, ...] | None = note()
    glued: tuple[str, ...] | None = note()
    capitalized: bool | None = note()
    dates: str | None = note()

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.spellings is not None and len(self.spellings) != len(self.vocabulary):
            raise ValueError(
                f"spellings must be of all {len(self.vocabulary)} words; got {len(self.spellings)} of them"
            )
        check_counts(length=self.length, width=self.width, heads=self.heads)
        check_counts(MOST_LAYERS, layers=self.layers)
        if self.width % self.heads:
            raise ValueError(f"width must be a multiple of heads ({self.heads}); got {self.width}")

    @classmethod
    def learn(cls, texts: Iterable[str], length: int | None = None, size: int = 30_000, **arguments: Any) -> Text:
        """A modality whose vocabulary is that of `texts`: pass those of the training split only.

        Arguments:
            texts: To learn from.
            length: Number of tokens; by default the longest text's, and one for its end.
            size: At most so many words, the most frequent ones.
            **arguments: The modality's other arguments.

        Returns:
            The modality; words are ordered by frequency, then alphabetically.
        """
        from tokenizers.trainers import WordLevelTrainer

        check_names("texts", texts, "['a red bird']")
        texts = list(texts)
        if not texts:
            raise ValueError("texts must hold at least one text to learn words from; got none")
        tokenizer = _untrained(split=is_unspaced(texts))
        trainer: Any = WordLevelTrainer(vocab_size=size, special_tokens=[], show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if length is None:
            length = 1 + max(count_tokens(texts))
        return cls(length, tuple(word for word, _ in words), **arguments)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(length,)`."""
        return (self.length,)

    @property
    def metric(self) -> str:
        """BLEU on n-grams up to three."""
        return "bleu-3"

    @property
    def dtype(self) -> torch.dtype:
        """int64."""
        return torch.int64

    @property
    def levels(self) -> int:
        """The number of tokens V: the words and three special ones."""
        return len(SPECIAL) + len(self.vocabulary)

    @property
    def representation(self) -> dict[str, Any]:
        """The words, in the order of their tokens."""
        return {"vocabulary": self.vocabulary}

    @property
    def blank(self) -> Tensor:
        """An empty text: the end token, then padding."""
        blank = torch.full(self.shape, PADDING)
        blank[0] = END
        return blank

    def read(self, raw: str) -> Tensor:
        """A text as tokens, `(length,)`."""
        return torch.tensor(_tokenizer(self.vocabulary, self.length).encode(raw).ids)

    def write(self, value: Tensor) -> str:
        """Tokens `(length,)` as words, end and padding dropped wherever they stand.

        Spaces stand between words, and not between letters of scripts that have none; once the spelling of training
        texts is known, words are put together as there.
        """
        tokens = [token for token in value.tolist() if token not in (END, PADDING)]
        known = SPECIAL + self.vocabulary
        if self.spellings is None:
            return _joined([known[token] for token in tokens])
        written = SPECIAL + self.spellings
        spelling = Spelling(self.spellings, self.glued or (), bool(self.capitalized))
        text = spell(((known[token], written[token]) for token in tokens), spelling, LETTER)
        date = read_date(self.dates, text) if self.dates else None
        return text if date is None or self.dates is None else write_date(self.dates, date)

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """The texts, without the unknown token; in a column of dates those that are none are empty."""
        made = [self.write(value[value != UNKNOWN]) for value in values]
        return [[text if not self.dates or read_date(self.dates, text) else "" for text in made]]

    def fitted(self, *cells: pd.Series) -> Text:
        """With the words of the training rows' texts, if it has none."""
        if self.vocabulary:
            return self
        return replace(self, vocabulary=type(self).learn(texts(cells[0])[~missing(cells[0])], self.length).vocabulary)

    def learn_cells(self, *cells: pd.Series) -> Text:
        """With the spelling of the training rows' texts, and the format of dates."""
        if self.spellings is not None or not self.vocabulary:
            return self
        held = texts(cells[0])[~missing(cells[0])].tolist()
        some = held[:: -(-len(held) // LOOKED_AT) or 1]
        split = _tokenizer(self.vocabulary, self.length).pre_tokenizer.pre_tokenize_str  # pyright: ignore[reportOptionalMemberAccess]
        words, glued, capitalized = Spelling.learn(some, self.vocabulary, split)
        dates = learn_date_format(some) or None
        return replace(self, spellings=words, glued=glued, capitalized=capitalized, dates=dates)

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """The texts' tokens; words that it does not know are counted."""
        nothing = missing(cells[0])
        held = texts(cells[0])[~nothing].tolist()
        encoded = _tokenizer(self.vocabulary, self.length).encode_batch(held)
        values = self.blank.expand(len(nothing), -1).clone()
        values[observed(nothing)] = torch.tensor([tokens.ids for tokens in encoded], dtype=torch.int64).view(
            -1, self.length
        )
        odd: Counter[str] = Counter()
        for text, tokens in zip(held, encoded, strict=True):
            strange = [place for place, token in enumerate(tokens.ids) if token == UNKNOWN]
            odd.update(text[slice(*tokens.offsets[place])].lower() for place in strange)
        cut = sum(bool(tokens.overflowing) for tokens in encoded)
        return Column(values, observed(nothing), tuple(odd.items()), cut=cut)

    def encoder(self, features: int) -> nn.Module:
        """A transformer, `(N, length) -> (N, features)`."""
        return TokenEncoder(
            self.levels,
            self.length,
            features,
            padding=PADDING,
            width=self.width,
            layers=self.layers,
            heads=self.heads,
            feedforward=self.feedforward,
            dropout=self.dropout,
        )

    def decoder(self, latent_dim: int) -> nn.Module:
        """Fully connected, `(N, latent_dim) -> (N, length, tokens)`; linear under either cost."""
        network = mlp(latent_dim, self.hidden, self.length * self.levels)
        return network.append(nn.Unflatten(1, (self.length, self.levels)))


def is_unspaced(texts: Sequence[str]) -> bool:
    """Whether a tenth of the texts have letters beside each other of a script that puts no blanks between words.

    Example:
        >>> is_unspaced(["一只小鸟", "a bird"]), is_unspaced(["นกตัวเล็ก"]), is_unspaced(["a bird", "ein Vogel"])
        (True, True, False)
    """
    return bool(texts) and sum(RUN.search(text) is not None for text in texts) >= ENOUGH * len(texts)


def count_tokens(texts: Sequence[str]) -> list[int]:
    """How many tokens each text has, without the end token, where words are learned from these texts.

    Example:
        >>> count_tokens(["a bird!", "birds"]), count_tokens(["小鸟 2"])
        ([3, 1], [3])
    """
    split = _untrained(split=is_unspaced(texts)).pre_tokenizer.pre_tokenize_str  # pyright: ignore[reportOptionalMemberAccess]
    return [len(split(text)) for text in texts]


def _joined(words: Sequence[str]) -> str:
    def parts() -> Iterator[str]:
        for before, word in zip(["", *words], words, strict=False):
            yield " " if before and not (LETTER.fullmatch(before) and LETTER.fullmatch(word)) else ""
            yield word

    return "".join(parts())


def _untrained(split: bool) -> Tokenizer:
    """What splits texts, into the letters of scripts without blanks too if it is to.

    The words of a vocabulary that was learned before these were split are whole clauses, and stay so.
    """
    from tokenizers import Regex, Tokenizer
    from tokenizers.models import WordLevel
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Sequence as Steps
    from tokenizers.pre_tokenizers import Split, Whitespace

    tokenizer: Any = Tokenizer(WordLevel({}, unk_token=SPECIAL[UNKNOWN]))
    tokenizer.normalizer = Lowercase()
    letters = Split(Regex(LETTER.pattern), "isolated")
    tokenizer.pre_tokenizer = Steps([letters, Whitespace()]) if split else Whitespace()
    return tokenizer


@lru_cache(maxsize=64)
def _tokenizer(vocabulary: tuple[str, ...], length: int) -> Tokenizer:
    from tokenizers.models import WordLevel
    from tokenizers.processors import TemplateProcessing

    letters = [word for word in vocabulary if LETTER.search(word)]
    tokenizer: Any = _untrained(split=bool(letters) and max(map(len, letters)) == 1)
    words = {word: i for i, word in enumerate(SPECIAL + vocabulary)}
    tokenizer.model = WordLevel(words, unk_token=SPECIAL[UNKNOWN])
    tokenizer.post_processor = TemplateProcessing(single=f"$A {SPECIAL[END]}", special_tokens=[(SPECIAL[END], END)])
    tokenizer.enable_truncation(length)
    tokenizer.enable_padding(length=length, pad_id=PADDING, pad_token=SPECIAL[PADDING])
    return tokenizer
