"""Columns without what only some readers know: extension types, views and run-end encoding, at any depth."""

import pyarrow as pa
import pyarrow.compute as pc


def plain(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """The same values, laid out plainly.

    Raises:
        pyarrow.ArrowException: Arrow has no way to lay them out.
    """
    if isinstance(array.type, pa.BaseExtensionType):
        array = storage(array)
    if pa.types.is_run_end_encoded(array.type):
        array = pc.run_end_decode(array)
    target = plain_type(array.type)
    return array if target == array.type else array.cast(target)


def one_piece(array: pa.Array | pa.ChunkedArray) -> pa.Array:
    """All chunks as one array."""
    if not isinstance(array, pa.ChunkedArray):
        return array
    if array.num_chunks < 2:
        # Not `combine_chunks`: it does not know every type without a chunk.
        return array.chunk(0) if array.num_chunks else pa.nulls(0, array.type)
    return pa.concat_arrays(array.unify_dictionaries().chunks if pa.types.is_dictionary(array.type) else array.chunks)


def storage(array: pa.Array | pa.ChunkedArray) -> pa.Array | pa.ChunkedArray:
    """What an extension array is made of; the extension's own code is not asked."""
    while isinstance(array.type, pa.BaseExtensionType):
        if isinstance(array, pa.ChunkedArray):
            array = pa.chunked_array([chunk.storage for chunk in array.chunks], array.type.storage_type)
        else:
            array = array.storage
    return array


def plain_type(kind: pa.DataType) -> pa.DataType:
    """The type that a column has for us."""
    for is_kind, convert in CONVERSIONS:
        if is_kind(kind):
            return convert(kind)
    return kind


def inner(field: pa.Field) -> pa.Field:
    return field.with_type(plain_type(field.type)).remove_metadata()


def fields(kind: pa.DataType) -> list[pa.Field]:
    return [inner(kind.field(index)) for index in range(kind.num_fields)]


CONVERSIONS = (
    (lambda kind: isinstance(kind, pa.BaseExtensionType), lambda kind: plain_type(kind.storage_type)),
    (pa.types.is_string_view, lambda _: pa.large_string()),
    (pa.types.is_binary_view, lambda _: pa.large_binary()),
    (pa.types.is_dictionary, lambda kind: pa.dictionary(kind.index_type, plain_type(kind.value_type), kind.ordered)),
    (pa.types.is_map, lambda kind: pa.map_(plain_type(kind.key_type), plain_type(kind.item_type), kind.keys_sorted)),
    (pa.types.is_fixed_size_list, lambda kind: pa.list_(inner(kind.value_field), kind.list_size)),
    (pa.types.is_large_list, lambda kind: pa.large_list(inner(kind.value_field))),
    (pa.types.is_large_list_view, lambda kind: pa.large_list(inner(kind.value_field))),
    (pa.types.is_list, lambda kind: pa.list_(inner(kind.value_field))),
    (pa.types.is_list_view, lambda kind: pa.list_(inner(kind.value_field))),
    (pa.types.is_struct, lambda kind: pa.struct(fields(kind))),
)
