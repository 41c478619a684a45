"""CSV files: reading with a detected separator and encoding, and writing that keeps the original characters."""

from polymodal.csvfiles.decoding import unpack
from polymodal.csvfiles.document import INDEX, Added, Document
from polymodal.csvfiles.options import NOTHING, PACKED, TEXT, Options, kind
from polymodal.csvfiles.reading import detect_options, read
from polymodal.csvfiles.sniffing import describe_detected_options

__all__ = [
    "INDEX",
    "NOTHING",
    "PACKED",
    "TEXT",
    "Added",
    "Document",
    "Options",
    "describe_detected_options",
    "detect_options",
    "kind",
    "read",
    "unpack",
]
