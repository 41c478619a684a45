"""Texts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from polymodal.modalities.arguments import note
from polymodal.modalities.base import check_counts
from polymodal.modalities.cells import Column, missing, texts, to_observed_mask
from polymodal.modalities.column_statistics import MOST_WORDS, usual_length
from polymodal.modalities.conversions import write_tokens
from polymodal.modalities.costed import Costed
from polymodal.modalities.costs import DISCRETE
from polymodal.modalities.dates import learn_date_format, read_date
from polymodal.modalities.profile import Candidate, Profile
from polymodal.modalities.spelling import Spelling
from polymodal.modalities.tokens import (
    END,
    PADDING,
    SPECIAL,
    UNKNOWN,
    count_tokens,
    create_tokenizer,
    is_unspaced,
    load_tokenizer,
    mean_words,
)
from polymodal.networks import TokenEncoder, mlp
from polymodal.runtime.formatting import format_count
from polymodal.runtime.validation import check_names

if TYPE_CHECKING:
    from pathlib import Path

    import pandas as pd

__all__ = ["END", "PADDING", "UNKNOWN", "Text"]

MOST_LAYERS = 1000
"""Maximum number of transformer layers. Without it, a file could describe a network that takes hours to create."""

LOOKED_AT = 10_000
"""Maximum number of texts from which the spelling is learned."""

SMALL: dict[str, Any] = {"width": 64, "layers": 1, "feedforward": 128, "dropout": 0.1, "hidden": (128,)}
"""Network settings for texts in tables, which are usually shorter and fewer than the captions in the paper."""


@dataclass(frozen=True)
class Text(Costed):
    """A text of at most `length` tokens, int64, `(length,)`: words, an end token and padding.

    Texts are converted to lower case and split at white space and punctuation. Scripts without spaces between words
    (Chinese, Japanese, Thai, Khmer, Lao, Burmese, Tibetan) are split into letters if they occur in the texts from which
    the vocabulary was learned. Longer texts are truncated. Unknown words become the unknown token.

    Arguments:
        length: Number of tokens L, including the end token.
        vocabulary: Words, in the order of their tokens. `Text.learn` learns them from texts.
        width: Size of the embeddings; 512 in the paper, as below.
        layers: Number of transformer layers of the encoder, at most 1000.
        heads: Number of attention heads per layer.
        feedforward: Size of the hidden layer in each transformer layer.
        dropout: Dropout probability in the encoder.
        hidden: Sizes of the hidden layers of the decoder.
        cost: Reconstruction cost: "categorical" or "l2" (used in the paper: the squared error to one-hot vectors).
        spellings: Words of the vocabulary with the capitalisation of the training texts.
        glued: Punctuation without adjacent spaces; see `polymodal.modalities.spelling`.
        capitalized: Whether sentences begin with a capital letter.
        dates: Format of a column of dates; see `polymodal.modalities.dates`.

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
    cost: str = "categorical"
    spellings: tuple[str, ...] | None = note()
    glued: tuple[str, ...] | None = note()
    capitalized: bool | None = note()
    dates: str | None = note()

    costs = DISCRETE
    metric = "bleu-3"
    """BLEU with n-grams of length 1 to 3."""

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
        """Creates a modality whose vocabulary is learned from texts.

        Arguments:
            texts: Texts to learn from. Pass texts of the training split only.
            length: Number of tokens; by default that of the longest text, plus one for the end token.
            size: Maximum number of words; the most frequent ones are kept.
            **arguments: Other arguments of the modality.

        Returns:
            The modality. Its words are sorted by frequency, then alphabetically.
        """
        from tokenizers.trainers import WordLevelTrainer

        check_names("texts", texts, "['a red bird']")
        texts = list(texts)
        if not texts:
            raise ValueError("texts must hold at least one text to learn words from; got none")
        tokenizer = create_tokenizer(split=is_unspaced(texts))
        trainer: Any = WordLevelTrainer(vocab_size=size, special_tokens=[], show_progress=False)
        tokenizer.train_from_iterator(texts, trainer)
        words = sorted(tokenizer.get_vocab().items(), key=lambda item: item[1])
        if length is None:
            length = 1 + max(count_tokens(texts))
        return cls(length, tuple(word for word, _ in words), **arguments)

    @classmethod
    def from_profile(cls, profile: Profile, length: int | None = None) -> Text:
        """Returns a text with the vocabulary of a column, and with small networks.

        Arguments:
            profile: Column of texts.
            length: Length in tokens; by default long enough to cut at most 1 in 50 texts, but at most 64.

        Raises:
            ValueError: The cells are not texts.
        """
        if not profile.comparable:
            raise ValueError(f"{profile.name!r} must hold texts to be a text; got {profile.types}")
        held = texts(profile.cells).tolist()
        return cls.learn(held, length or usual_length(held), MOST_WORDS, **SMALL)

    @classmethod
    def suitability(cls, profile: Profile) -> float:
        """Returns 0.7 for sentences: at least 2 words on average, and half of the texts differ; 0.3 for other texts."""
        if profile.kind not in ("text", "date"):
            return 0.0
        differ = len(profile.counts) >= len(profile.values) / 2
        return 0.7 if differ and mean_words(profile.first) >= 2 else 0.3

    @classmethod
    def candidate(cls, profile: Profile) -> Candidate:
        """Returns a text with the vocabulary of a column, and the mean length as the reason."""
        text, words = cls.from_profile(profile), mean_words(profile.first)
        long = f"{2 * words:.1f} letters or words" if is_unspaced(profile.first) else f"{words:.1f} words"
        what = "dates" if profile.dated else f"texts of {long} on average"
        why = f"{what}, {len(profile.counts):,} different ones in {profile.there}"
        if len(text.vocabulary) == MOST_WORDS:
            why += f"; of their words the {MOST_WORDS:,} most frequent"
        return Candidate(text, why)

    @property
    def description(self) -> str:
        """The type, with the length."""
        return f"text, {format_count(self.length, 'token')}"

    @property
    def shape(self) -> tuple[int, ...]:
        """`(length,)`."""
        return (self.length,)

    @property
    def dtype(self) -> torch.dtype:
        """int64."""
        return torch.int64

    @property
    def levels(self) -> int:
        """The number of different tokens V: the words and three special tokens."""
        return len(SPECIAL) + len(self.vocabulary)

    @property
    def representation(self) -> dict[str, Any]:
        """The words, in the order of their tokens."""
        return {"vocabulary": self.vocabulary}

    @property
    def blank(self) -> Tensor:
        """An empty text: an end token, followed by padding."""
        blank = torch.full(self.shape, PADDING)
        blank[0] = END
        return blank

    def read(self, raw: str) -> Tensor:
        """Converts a text to tokens, `(length,)`."""
        return torch.tensor(load_tokenizer(self.vocabulary, self.length).encode(raw).ids)

    def write(self, value: Tensor) -> str:
        """Converts tokens `(length,)` to a text, without end and padding tokens.

        Words are joined by spaces, except letters of scripts without spaces. If the spelling of the training texts is
        known, capitals, the spaces next to punctuation and the format of dates follow it.
        """
        spelling = None
        if self.spellings is not None:
            spelling = Spelling(self.spellings, self.glued or (), bool(self.capitalized))
        return write_tokens(value.tolist(), self.vocabulary, spelling, self.dates)

    def write_cells(self, values: Tensor) -> list[Sequence[Any]]:
        """Converts tokens to texts without unknown tokens; in a column of dates, invalid dates become empty texts."""
        made = [self.write(value[value != UNKNOWN]) for value in values]
        return [[text if not self.dates or read_date(self.dates, text) else "" for text in made]]

    def fitted(self, *cells: pd.Series) -> Text:
        """Returns the modality with a vocabulary learned from the cells, if it has none."""
        if self.vocabulary:
            return self
        return replace(self, vocabulary=type(self).learn(texts(cells[0])[~missing(cells[0])], self.length).vocabulary)

    def learn_cells(self, *cells: pd.Series) -> Text:
        """Returns the modality with the spelling of the cells and their format of dates."""
        if self.spellings is not None or not self.vocabulary:
            return self
        held = texts(cells[0])[~missing(cells[0])].tolist()
        some = held[:: -(-len(held) // LOOKED_AT) or 1]
        split = load_tokenizer(self.vocabulary, self.length).pre_tokenizer.pre_tokenize_str  # pyright: ignore[reportOptionalMemberAccess]
        words, glued, capitalized = Spelling.learn(some, self.vocabulary, split)
        dates = learn_date_format(some) or None
        return replace(self, spellings=words, glued=glued, capitalized=capitalized, dates=dates)

    def read_cells(self, *cells: pd.Series, root: Path) -> Column:
        """Reads texts as tokens, and counts unknown words and truncated texts."""
        nothing = missing(cells[0])
        held = texts(cells[0])[~nothing].tolist()
        encoded = load_tokenizer(self.vocabulary, self.length).encode_batch(held)
        values = self.blank.expand(len(nothing), -1).clone()
        values[to_observed_mask(nothing)] = torch.tensor([tokens.ids for tokens in encoded], dtype=torch.int64).view(
            -1, self.length
        )
        odd: Counter[str] = Counter()
        for text, tokens in zip(held, encoded, strict=True):
            strange = [place for place, token in enumerate(tokens.ids) if token == UNKNOWN]
            odd.update(text[slice(*tokens.offsets[place])].lower() for place in strange)
        cut = sum(bool(tokens.overflowing) for tokens in encoded)
        return Column(values, to_observed_mask(nothing), tuple(odd.items()), cut=cut)

    def encoder(self, features: int) -> nn.Module:
        """Creates a transformer encoder, `(N, length) -> (N, features)`."""
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
        """Creates a fully connected decoder with linear outputs, `(N, latent_dim) -> (N, length, V)`."""
        network = mlp(latent_dim, self.hidden, self.length * self.levels)
        return network.append(nn.Unflatten(1, (self.length, self.levels)))
