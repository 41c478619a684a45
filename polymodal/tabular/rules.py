"""The rules that infer the type of a column: the most suitable type, unless the column is to be left out."""

from __future__ import annotations

from collections.abc import Mapping

from polymodal.modalities import Modality
from polymodal.modalities.column_statistics import is_list
from polymodal.modalities.profile import MOST, Candidate, Profile
from polymodal.modalities.tokens import is_unspaced
from polymodal.runtime.formatting import brief, value_repr
from polymodal.tabular.ambiguities import NumberTexts, is_number, is_row_number
from polymodal.tabular.type_warnings import IDENTIFIER, doubt_codes, doubt_texts, join_doubts, warn_about_type

__all__ = ["infer_modality"]

FEWEST = 10
"""Minimum number of rows for texts that all differ to be identifiers."""
LARGEST_SHORT = 40
"""Identifiers have fewer characters than this."""


def infer_modality(profile: Profile, same: str, kinds: Mapping[str, type[Modality]]) -> Candidate:
    """Returns the modality that is inferred for a column, with the reason and warnings.

    Arguments:
        profile: The column.
        same: Name of the first column with the same values.
        kinds: Types to consider, by name. The first one is chosen if several are equally suitable.
    """
    if not len(profile.values):
        return Candidate(None, "no row has a value")
    if profile.comparable and len(profile.counts) == 1:
        value = brief(value_repr(profile.counts.index[0]), 30)
        return Candidate(None, f"the same value in every row that has one, {value}", _advise_anyway(profile))
    if same != profile.name:
        return Candidate(None, f"the same as {same}", _advise_anyway(profile))
    suitability = {name: kind.suitability(profile) for name, kind in kinds.items()}
    best = max(suitability, key=lambda name: suitability[name])
    if suitability[best] <= IDENTIFIER and (unused := _find_reason_to_leave_out(profile)):
        return unused
    if suitability[best] <= 0:
        return _leave_out_unsuitable(profile, kinds)
    made = kinds[best].candidate(profile)
    if made.modality is None:
        return made
    return made._replace(doubt=warn_about_type(profile, made.modality, made.doubt))


def _advise_anyway(profile: Profile, word: str | None = None) -> str:
    word = word or ("number" if profile.kind in ("integer", "number") else "label")
    return f"to use it anyway write {profile.otherwise(word)}"


def _find_reason_to_leave_out(profile: Profile) -> Candidate | None:
    """Returns a candidate without a modality if a column looks like an identifier, or like numbers in texts."""
    if profile.kind == "integer":
        return _check_row_number(profile)
    if profile.kind in ("text", "date"):
        return _check_numbers_in_texts(profile) or _check_identifier(profile)
    return None


def _check_row_number(profile: Profile) -> Candidate | None:
    if not is_row_number(profile):
        return None
    consecutive = len(profile.counts) == int(profile.values.max()) - int(profile.values.min()) + 1
    numbers = f"{'consecutive ' if consecutive else ''}whole numbers {profile.span}, each in one row"
    why = f"an identifier: {numbers}{'' if consecutive else ', as row numbers are'}"
    return Candidate(None, why, _advise_anyway(profile))


def _check_numbers_in_texts(profile: Profile) -> Candidate | None:
    written = None if profile.dated else NumberTexts.of(profile)
    if written is not None:
        why = f"texts that look like numbers {written.what}, such as {written.example!r}"
        return Candidate(None, why, f"for numbers {written.way}; for classes write {profile.otherwise('label')}")
    texts = profile.first
    if profile.coded or not all(map(is_number, texts)) or all(text.strip().isdecimal() for text in texts):
        return None
    why = f"texts that are numbers, such as {texts[0].strip()!r}, in {profile.there}"
    return Candidate(None, why, f"to use them as numbers write {profile.otherwise('number')}")


def _check_identifier(profile: Profile) -> Candidate | None:
    if not profile.dated and _are_short_and_differ(profile):
        doubt = join_doubts(_advise_anyway(profile, "text"), doubt_texts(profile, "texts"))
        return Candidate(None, f"an identifier: short texts, another in each of {profile.there}", doubt)
    if profile.coded and profile.each < 2:
        why = f"an identifier: codes, {len(profile.counts):,} different ones in {profile.there}"
        return Candidate(None, why, doubt_codes(profile))
    return None


def _are_short_and_differ(profile: Profile) -> bool:
    """Returns whether all texts differ, are short, and mostly have no white space, in a script that uses spaces."""
    texts = profile.values
    if not FEWEST <= len(profile.counts) == len(texts) or is_unspaced(profile.first):
        return False
    return bool(texts.str.len().max() < LARGEST_SHORT and (~texts.str.contains(r"\s")).mean() >= MOST)


def _leave_out_unsuitable(profile: Profile, kinds: Mapping[str, type[Modality]]) -> Candidate:
    if profile.kind not in ("bytes", "object"):
        return Candidate(None, f"no considered type ({', '.join(kinds)}) suits it", _advise_anyway(profile))
    if profile.kind == "object" and all(map(is_list, profile.values)):
        return Candidate(None, "lists of something else than numbers")
    doubt = "extract what is useful into separate columns" if profile.kind == "object" else ""
    return Candidate(None, f"it holds {profile.types}", doubt)
