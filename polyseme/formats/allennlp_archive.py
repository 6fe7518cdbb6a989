"""Opens the container of an AllenNLP model, safely: config, tensors, vocabulary; what they mean is not known here.

An archive is a gzipped tar of `config.json`, `weights.th` and `vocabulary/` (allennlp `models/archival.py`); a
serialization directory holds the same, unpacked, its weights perhaps called `best.th`. Old archives also carry the
ELMo options they were trained with, as `fta/<key of the config>.options_file`.

Nothing is written to disk and no pickle is executed. The archive is read once, front to back, to its very end (gzip's
checksum stands there) and never beyond what an honest archive of its size can hold.
"""

from __future__ import annotations

import gzip
import io
import json
import re
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from polyseme.errors import DamagedModelError, UnknownFormatError
from polyseme.formats.model import REFETCH, damage_named

ARCHIVE = "model.tar.gz"
CONFIG = "config.json"
WEIGHTS = ("weights.th", "best.th")  # in the order in which AllenNLP looks for them
VOCABULARY = "vocabulary/tokens.txt"
FIRST_NAMES = {CONFIG, *WEIGHTS, "vocabulary", "fta", "files_to_archive.json", "meta.json"}

# Float weights shrink by a tenth, word lists by two thirds. More than twentyfold is a bomb, not a model.
MOST_INFLATION = 20
ALWAYS_ALLOWED_BYTES = 64 * 2**20
MOST_CONFIG_BYTES = 16 * 2**20

PADDING, UNKNOWN = "@@PADDING@@", "@@UNKNOWN@@"  # the names of ids 0 and 1; a word's line end is kept as @@NEWLINE@@


@dataclass(frozen=True)
class Archive:
    """`words`: lines of vocabulary/tokens.txt in order, None where absent. `elmo_options`: of an old task archive."""

    path: Path
    config: dict[str, Any]
    weights: dict[str, Tensor]
    words: tuple[str, ...] | None = None
    elmo_options: dict[str, Any] | None = None

    @property
    def model(self) -> dict[str, Any]:
        """The `model` section of the configuration."""
        section: dict[str, Any] = self.config["model"]
        return section


def looks_like(path: Path) -> bool:
    """Whether `path` is an AllenNLP archive or a serialization directory; reads one block of it at most."""
    if path.is_dir():
        unpacked = (path / CONFIG).is_file() and any((path / name).is_file() for name in WEIGHTS)
        return unpacked or ((path / ARCHIVE).is_file() and not any(path.glob("*.hdf5")))
    try:
        with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unzipped:
            head = io.BytesIO(unzipped.read(4 * tarfile.BLOCKSIZE))
        with tarfile.open(fileobj=head, mode="r|") as tar:
            return any(_normal(member.name).split("/")[0] in FIRST_NAMES for member in tar)
    except (OSError, EOFError, zlib.error, tarfile.TarError, ValueError):
        return False


def open_archive(path: Path) -> Archive:
    """The contents of an archive or serialization directory.

    Raises `DamagedModelError` for anything that is broken, `UnknownFormatError` where the parts are not there.
    """
    if path.is_dir() and not (path / CONFIG).is_file() and (path / ARCHIVE).is_file():
        path = path / ARCHIVE
    with _damage_named(path, "reading the archive"):
        files = _read_folder(path) if path.is_dir() else _read_tar(path)
    weights_name = next((name for name in WEIGHTS if name in files), None)
    if CONFIG not in files or weights_name is None:
        found = ", ".join(sorted(files)) or "neither"
        raise UnknownFormatError(f"{path}: an AllenNLP model needs {CONFIG} and {WEIGHTS[0]}, found: {found}")
    config = _parse_json(files[CONFIG], f"{path}: {CONFIG}")
    if not isinstance(config.get("model"), dict):
        raise DamagedModelError(f"{path}: {CONFIG} has no 'model' section; {REFETCH}")
    weights = _load_tensors(files.pop(weights_name), f"{path}: {weights_name}")
    options = next((_parse_json(data, f"{path}: {name}") for name, data in files.items() if _is_options(name)), None)
    return Archive(path, config, weights, _words(files.get(VOCABULARY), path), options)


def _is_options(name: str) -> bool:
    return name.startswith("fta/") and name.endswith("options_file")


def _normal(name: str) -> str:
    return name.removeprefix("./").rstrip("/")


def _wanted(name: str) -> bool:
    return name in (CONFIG, *WEIGHTS, VOCABULARY) or _is_options(name)


# --- container -> bytes


def _read_folder(folder: Path) -> dict[str, bytes]:
    names = [CONFIG, VOCABULARY, next((name for name in WEIGHTS if (folder / name).is_file()), WEIGHTS[0])]
    names += [f"fta/{file.name}" for file in sorted(folder.glob("fta/*options_file"))]
    return {name: (folder / name).read_bytes() for name in names if (folder / name).is_file()}


def _read_tar(path: Path) -> dict[str, bytes]:
    """The wanted members. No name is ever used as a path, so a hostile one leads nowhere."""
    files = {}
    limit = MOST_INFLATION * path.stat().st_size + ALWAYS_ALLOWED_BYTES
    with path.open("rb") as file, gzip.GzipFile(fileobj=file) as unzipped:
        source = _Bounded(unzipped, limit, path)
        with tarfile.open(fileobj=source, mode="r|") as tar:
            for member in tar:
                name = _normal(member.name)
                # A sparse member claims any size and stores nothing; links lead to other names.
                if _wanted(name) and member.isreg() and not member.issparse():
                    files[name] = _read_member(tar, member, limit, path)
        while source.read(2**20):
            pass  # to the end, where the checksum is compared
    return files


def _read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, limit: int, path: Path) -> bytes:
    if member.size > limit:
        raise DamagedModelError(
            f"{path}: {member.name} claims {member.size:,} bytes, more than such an archive can hold"
        )
    reader = tar.extractfile(member)
    data = reader.read() if reader is not None else b""
    if len(data) != member.size:
        raise DamagedModelError(f"{path}: {member.name} ends after {len(data):,} of {member.size:,} bytes; {REFETCH}")
    return data


class _Bounded(io.RawIOBase):
    """Reads from `source`, and raises once more than `limit` bytes came out of it."""

    def __init__(self, source: gzip.GzipFile, limit: int, path: Path) -> None:
        self.source, self.limit, self.path, self.count = source, limit, path, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self.source.read(min(size, 2**20) if size >= 0 else 2**20)
        self.count += len(data)
        if self.count > self.limit:
            raise DamagedModelError(
                f"{self.path}: unpacks to over {self.limit:,} bytes, more than {MOST_INFLATION} times its size; "
                "no ELMo does, so it is not opened"
            )
        return data


# --- bytes -> values


def _parse_json(data: bytes, source: str) -> dict[str, Any]:
    """JSON, with the comments and trailing commas that AllenNLP's own parser (Jsonnet) lets pass."""
    if len(data) > MOST_CONFIG_BYTES:
        raise DamagedModelError(f"{source} has {len(data):,} bytes, which is no configuration; {REFETCH}")
    # Closing marks are optional, so that no broken text makes the search start over and over.
    string = r'("(?:[^"\\]|\\.)*"?)'
    try:
        text = re.sub(string + r"|//[^\n]*|#[^\n]*|/\*.*?(?:\*/|\Z)", r"\1", data.decode("utf-8-sig"), flags=re.DOTALL)
        value = json.loads(re.sub(string + r"|,(?=\s*[}\]])", r"\1", text))
    except (ValueError, RecursionError) as error:
        raise DamagedModelError(
            f"{source} is not JSON ({error}); {REFETCH}, or evaluate it with jsonnet if it is a Jsonnet program"
        ) from error
    if not isinstance(value, dict):
        raise DamagedModelError(f"{source} holds a {type(value).__name__}, not an object; {REFETCH}")
    return value


def _words(data: bytes | None, path: Path) -> tuple[str, ...] | None:
    """Lines end at "\\n" alone, as AllenNLP splits them: other line separators are words of web text."""
    if data is None:
        return None
    with _damage_named(path, f"reading {VOCABULARY}"):
        lines = data.decode("utf-8").split("\n")
    return tuple(lines[:-1] if lines[-1] == "" else lines)


def _load_tensors(data: bytes, source: str) -> dict[str, Tensor]:
    """A state dict, without executing its pickle. Every tensor is made of finite float32 numbers that really exist."""
    with _damage_named(Path(source), "loading the tensors"):
        buffer = io.BytesIO(data)
        if zipfile.is_zipfile(buffer):  # torch stores without compressing; a deflated file could be a bomb
            with zipfile.ZipFile(buffer) as archive:
                if sum(entry.file_size for entry in archive.infolist()) > 2 * len(data):
                    raise DamagedModelError(f"{source}: claims more bytes than it has; {REFETCH}")
        buffer.seek(0)
        try:
            values = torch.load(buffer, map_location="cpu", weights_only=True)
        except Exception as error:  # its unpickler raises whatever the bytes lead it to, assertions among them
            raise DamagedModelError(f"{source}: loading failed ({_first_line(error)}); {REFETCH}") from error
        if not isinstance(values, dict):
            raise DamagedModelError(f"{source} holds a {type(values).__name__}, not named tensors; {REFETCH}")
        return {str(name): _checked(tensor, f"{source}: {name!r}") for name, tensor in values.items()}


def _checked(tensor: object, source: str) -> Tensor:
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided:
        raise DamagedModelError(f"{source} is not a tensor; {REFETCH}")
    # A stride of zero shows one stored number as a billion.
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise DamagedModelError(f"{source} shows more numbers than are stored; {REFETCH}")
    if not tensor.is_floating_point():
        return tensor
    tensor = tensor.detach().float().contiguous()
    if not bool(torch.isfinite(tensor).all()):
        raise DamagedModelError(f"{source} holds values that are not finite numbers; {REFETCH}")
    return tensor


def _first_line(error: Exception) -> str:
    """Torch explains at length how to load unsafely: that advice is not passed on."""
    text = str(error).strip().split("\n")[0]
    return f"{type(error).__name__}: {text[:200]}"


@contextmanager
def _damage_named(path: Path, reading: str) -> Iterator[None]:
    """`damage_named`, and the errors of gzip, tar and zip, which are nobody's ValueError."""
    with damage_named(path, reading):
        try:
            yield
        except (zlib.error, tarfile.TarError, zipfile.BadZipFile, struct.error) as error:
            raise DamagedModelError(f"{path}: {reading} failed ({type(error).__name__}: {error}); {REFETCH}") from error
