"""Modalities of columns that a user chooses by a word."""

from __future__ import annotations

from collections.abc import Mapping

from polymodal.modalities import Audio, Image, Label, Modality, Text, Vector
from polymodal.modalities.column_statistics import message_cut
from polymodal.modalities.inspection import choose_size, inspect_images
from polymodal.modalities.profile import Candidate, Profile

__all__ = ["make_chosen"]

WORDS = (
    "label, number, log, text, text:24, image, image:64, image:3x64x64, vector, audio, audio:32x128 or ignore, "
    "or a modality"
)
"""The words with which a user may choose the modality of a column."""


def make_chosen(profile: Profile, choice: str, kinds: Mapping[str, type[Modality]]) -> Candidate:
    """Returns the modality that a user chose for a column, with units, classes and words learned from its cells.

    Arguments:
        profile: The column.
        choice: The word, such as "label" or "text:24", or the name of a user-defined type.
        kinds: User-defined types by name.

    Raises:
        ValueError: The modality does not exist, or does not fit the column.
    """
    if not len(profile.values):
        raise ValueError(f"{profile.name!r} must have a value to be {choice}; no row has one; ignore it")
    word, _, rest = str(choice).partition(":")
    sizes = tuple(int(part) if part.isdecimal() else 0 for part in rest.split("x")) if rest else ()
    modality = _make_modality(profile, word, sizes, kinds) if all(sizes) and not str(choice).endswith(":") else None
    if modality is None:
        raise ValueError(f"modality of {profile.name!r} must be one of {WORDS}; got {choice!r}")
    cut = message_cut(profile, modality.length) if isinstance(modality, Text) else ""
    return Candidate(modality, "as specified", cut)


def _make_modality(
    profile: Profile, word: str, sizes: tuple[int, ...], kinds: Mapping[str, type[Modality]]
) -> Modality | None:
    """Returns the modality for a word and sizes; None if it does not exist."""
    match word, sizes:
        case "label", ():
            return Label.from_profile(profile)
        case (("number" | "log"), ()):
            return Vector.from_profile(profile, log=word == "log")
        case "vector", ():
            return Vector.from_profile(profile)
        case "text", ():
            return Text.from_profile(profile)
        case "text", (length,):
            return Text.from_profile(profile, length)
        case "image", (channels, height, width):
            return Image(channels, height, width)
        case "image", ((_,) | ()):
            return Image(*choose_size(inspect_images(profile), *sizes))
        case "audio", ((_, _) | ()):
            return Audio(*(sizes or (32, 128)))
    return kinds[word].candidate(profile).modality if word in kinds and not sizes else None
