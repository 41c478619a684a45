"""Common Arrow types of columns in several files, and shared categories."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cast_exactly", "common_type", "encode", "unify_categories", "widen"]


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the type that represents the values of both types exactly, or None if there is none.

    Numbers become wider numbers, and times become finer times. Lists and structs become lists and structs of common
    types. Unordered categories and texts become texts. Numbers and texts have no common type, nor do times in different
    time zones.

    Example:
        >>> import pyarrow as pa
        >>> common_type(pa.int8(), pa.float64()), common_type(pa.null(), pa.string())
        (DataType(double), DataType(string))
        >>> common_type(pa.int64(), pa.string()) is None
        True
    """
    import pyarrow as pa

    types = pa.types
    if one == other:
        return one
    if types.is_null(one) or types.is_null(other):
        return other if types.is_null(one) else one
    if types.is_dictionary(one) and types.is_dictionary(other):
        if one.ordered != other.ordered or one.value_type != other.value_type:
            return None
        return max(one, other, key=lambda kind: kind.index_type.bit_width)
    if types.is_dictionary(one) or types.is_dictionary(other):
        plain = [kind.value_type if types.is_dictionary(kind) else kind for kind in (one, other)]
        ordered = any(types.is_dictionary(kind) and kind.ordered for kind in (one, other))
        return None if ordered else common_type(*plain)
    one, other = (_without_view(kind) for kind in (one, other))
    if _is_text(one) != _is_text(other):
        return None  # Arrow would convert them to bytes
    try:
        schemas = [pa.schema([("x", kind)]) for kind in (one, other)]
        made = pa.unify_schemas(schemas, promote_options="permissive").field(0).type
        decimal = types.is_decimal(one) or types.is_decimal(other)
        made = pa.float64() if decimal and types.is_floating(made) else made
        for kind in (one, other):
            pa.nulls(1, kind).cast(made)
    except pa.ArrowException:
        return None
    return made


def cast_exactly(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Casts a column to a type that represents all its values exactly.

    Raises:
        pa.ArrowInvalid: The type cannot represent a value.

    Example:
        >>> import pyarrow as pa
        >>> cast_exactly(pa.array([1, None], pa.int8()), pa.float64()).to_pylist()
        [1.0, None]
    """
    import pyarrow as pa

    made = column.cast(kind)
    rounds = pa.types.is_decimal(column.type) and pa.types.is_floating(kind)
    if rounds and not made.cast(column.type, safe=False).equals(column):
        raise pa.ArrowInvalid("a decimal number has more digits than a floating one")
    return made


def unify_categories(one: pa.Array, other: pa.Array, *, strict: bool = False) -> pa.Array | None:
    """Returns the union of two arrays of categories.

    If one array contains the other in the same order, it is returned; otherwise, the categories of the first are
    followed by the new ones of the second.

    Arguments:
        one: Categories.
        other: Further categories.
        strict: Whether one array must contain the other in the same order, as for ordered categories; otherwise None is
            returned.

    Example:
        >>> import pyarrow as pa
        >>> some = pa.array(["low", "high"]), pa.array(["low", "mid", "high"])
        >>> unify_categories(*some).to_pylist(), unify_categories(*some[::-1]).to_pylist()
        (['low', 'mid', 'high'], ['low', 'mid', 'high'])
        >>> unify_categories(some[0], pa.array(["high", "low"]), strict=True) is None
        True
    """
    import pyarrow as pa

    if one.equals(other):
        return one
    before, further = one.to_pylist(), other.to_pylist()
    if _holds_in_order(before, further):
        return one
    if _holds_in_order(further, before):
        return other
    known = {*before}
    return None if strict else pa.array([*before, *(name for name in further if name not in known)], one.type)


def encode(column: pa.Array, categories: pa.Array, kind: pa.DictionaryType) -> pa.Array:
    """Encodes a column with the given categories; values outside of them become missing.

    Arguments:
        column: N values, encoded or plain.
        categories: All categories.
        kind: Type of the result.

    Example:
        >>> import pyarrow as pa
        >>> made = encode(pa.array(["high", None]), pa.array(["low", "high"]), pa.dictionary(pa.int8(), pa.string()))
        >>> made.indices.to_pylist(), made.dictionary.to_pylist()
        ([1, None], ['low', 'high'])
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(column.type):
        places = pa.nulls(len(column), kind.index_type)
    elif not pa.types.is_dictionary(column.type):
        places = pc.index_in(column, value_set=categories)  # pyright: ignore[reportAttributeAccessIssue]
    elif column.dictionary.equals(categories):
        places = column.indices
    else:
        order = pc.index_in(column.dictionary, value_set=categories)  # pyright: ignore[reportAttributeAccessIssue]
        places = order.take(column.indices)
    return pa.DictionaryArray.from_arrays(places.cast(kind.index_type), categories, ordered=kind.ordered)


def widen(kind: pa.DictionaryType, categories: int) -> pa.DataType:
    """Returns a dictionary type whose indices can represent the given number of categories.

    Example:
        >>> import pyarrow as pa
        >>> widen(pa.dictionary(pa.int8(), pa.string()), 300).index_type
        DataType(int16)
    """
    import pyarrow as pa

    bits = kind.index_type.bit_width - pa.types.is_signed_integer(kind.index_type)
    if categories <= 2**bits:
        return kind
    index = next(index for index in (pa.int16(), pa.int32(), pa.int64()) if categories <= 2 ** (index.bit_width - 1))
    return pa.dictionary(index, kind.value_type, kind.ordered)


def _holds_in_order(all_of_it: list[object], some: list[object]) -> bool:
    """Returns whether a list contains all elements of another one in the same order."""
    rest = iter(all_of_it)
    return all(one in rest for one in some)


def _without_view(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return views.get(kind, kind)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
