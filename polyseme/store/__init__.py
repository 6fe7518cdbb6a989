"""Embeddings on disk: `EmbeddingWriter` writes them block by block and resumes, `read_embeddings` opens them lazily.

layout.py    what a file holds, and the space it takes        columns.py  the flat picture that formats share
writer.py    sentences in, commits                            partial.py  the working folder and its journal
assemble.py  working files -> finished file                   reader.py   finished file -> `StoredEmbeddings`
*_file.py    one file format each: how it is written, how it is read
"""

from polyseme.store.layout import FORMATS, StoreLayout, check_space, choose_format, output_bytes, required_bytes
from polyseme.store.reader import StoredEmbeddings, read_embeddings
from polyseme.store.writer import EmbeddingWriter

__all__ = [
    "FORMATS",
    "EmbeddingWriter",
    "StoreLayout",
    "StoredEmbeddings",
    "check_space",
    "choose_format",
    "output_bytes",
    "read_embeddings",
    "required_bytes",
]
