"""CSV files: reading with a detected separator and encoding, and writing that keeps the original characters."""

from polymodal.csvfiles.decoding import unpack
from polymodal.csvfiles.document import INDEX, Added, Document
from polymodal.csvfiles.options import NOTHING, PACKED, TEXT, Options, kind
from polymodal.csvfiles.reading import found, read
from polymodal.csvfiles.sniffing import suggested

__all__ = [
    "INDEX",
    "NOTHING",
    "PACKED",
    "TEXT",
    "Added",
    "Document",
    "Options",
    "found",
    "kind",
    "read",
    "suggested",
    "unpack",
]
