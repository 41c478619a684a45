"""Types of Arrow that columns of several files have in common, and categories that they share."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["cast_exactly", "common_type", "encode", "unify_categories", "widen"]


def common_type(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Returns the type that holds the values of both as they are, or None where there is none.

    Numbers become wider numbers, times finer ones, lists and structs those of such types; categories without an order
    and texts become texts. Numbers and texts have none in common, nor have times of different zones.

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
        return None  # which Arrow would make bytes
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
    """Casts a column to a type that holds all its values as they are.

    Raises:
        pa.ArrowInvalid: A value has no place in it.

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
    """Returns the categories of both, each in its order: those of the first, and then what the other has besides.

    Arguments:
        one: Categories.
        other: Further ones.
        strict: Whether one of them must hold all of the other in the same order, as where their order means something;
            otherwise there is none, and None is returned.

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
    """Encodes a column with these categories; a value that is none of them becomes missing.

    Arguments:
        column: N values, encoded or plain.
        categories: All there are.
        kind: The type of the result.

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
    """Returns a type of categories whose indices reach so many.

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
    """Whether these stand among all of it in the same order."""
    rest = iter(all_of_it)
    return all(one in rest for one in some)


def _without_view(kind: pa.DataType) -> pa.DataType:
    import pyarrow as pa

    views = {pa.string_view(): pa.large_string(), pa.binary_view(): pa.large_binary()}
    return views.get(kind, kind)


def _is_text(kind: pa.DataType) -> bool:
    import pyarrow as pa

    return pa.types.is_string(kind) or pa.types.is_large_string(kind)
