"""A model that is several files: a folder, or a zip of one, read member by member and never unpacked to disk."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Any

import torch
from torch import Tensor

from polyseme.errors import DamagedModelError, UnknownFormatError
from polyseme.formats.model import REFETCH

LARGEST_TEXT = 256 << 20  # bytes of a dictionary or configuration; those of published models have up to 3 MB
UNSUSPICIOUS = 64 << 20  # bytes that a member may unpack to, however well it was compressed
LARGEST_RATIO = 20  # of unpacked to packed beyond that; trained weights hardly shrink at all


class Parts:
    """The files of one model by name. Use as a context manager: `with Parts.open(path, needed) as parts`."""

    def __init__(self, path: Path, inner: str, archive: zipfile.ZipFile | None) -> None:
        self._path, self._inner, self._archive = path, inner, archive

    @staticmethod
    def find(path: Path, needed: Iterable[str]) -> str | None:
        """The folder inside `path`, "" or "name/", that holds all `needed` files; None where none or several do.

        Never raises: it answers for any file or folder.
        """
        needed = tuple(needed)
        try:
            if path.is_dir():
                names = {f"{sub}{name}" for sub in _folders(path) for name in needed if (path / sub / name).is_file()}
            elif path.is_file() and zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    names = set(archive.namelist())
            else:
                return None
        except Exception:  # a damaged zip makes `zipfile` raise almost anything
            return None
        roots = {name.removesuffix(needed[0]) for name in names if name.split("/")[-1] == needed[0]}
        whole = [root for root in sorted(roots, key=len) if all(root + name in names for name in needed)]
        return whole[0] if len(whole) == 1 or "" in whole else None

    @classmethod
    def open(cls, path: Path, needed: Iterable[str]) -> Parts:
        """Raises `UnknownFormatError` where the files are not there."""
        needed = tuple(needed)
        inner = cls.find(path, needed)
        if inner is None:
            raise UnknownFormatError(f"{path}: needs the files {', '.join(needed)}, in one folder or zip")
        return cls(path, inner, None if path.is_dir() else zipfile.ZipFile(path))

    def __enter__(self) -> Parts:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._archive is not None:
            self._archive.close()

    def path(self, name: str) -> Path:
        """Where a file lies, for messages; inside a zip it is no path of the system."""
        return self._path / self._inner / name

    def has(self, name: str) -> bool:
        """Whether a file of this name is there."""
        if self._archive is None:
            return self.path(name).is_file()
        return self._inner + name in self._archive.namelist()

    def text(self, name: str) -> str:
        """A UTF-8 file. Raises `DamagedModelError`."""
        data = self._bytes(name, LARGEST_TEXT)
        try:
            return data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise DamagedModelError(f"{self.path(name)}: is not UTF-8 (byte {error.start:,}); {REFETCH}") from error

    def json(self, name: str) -> dict[str, Any]:
        """A JSON file that holds an object. Raises `DamagedModelError`."""
        try:
            value = json.loads(self.text(name))
        except (ValueError, RecursionError) as error:
            raise DamagedModelError(f"{self.path(name)}: is not JSON ({error}); {REFETCH}") from error
        if not isinstance(value, dict):
            raise DamagedModelError(f"{self.path(name)}: holds a {type(value).__name__}, not a JSON object; {REFETCH}")
        return value

    def tensors(self, name: str) -> dict[str, Tensor]:
        """A state dict that `torch.save` wrote, in its zip or its older layout; nothing but tensors is ever built.

        Raises `DamagedModelError`, also for a pickle that asks for anything else to be called.
        """
        file = self.path(name)
        source = file if self._archive is None else io.BytesIO(self._bytes(name, None))
        try:
            state = torch.load(source, map_location="cpu", weights_only=True)
        except Exception as error:  # the unpickler meets arbitrary bytes and raises almost anything
            finding = " ".join(str(error).split())[:300]
            raise DamagedModelError(
                f"{file}: is not a readable PyTorch state dict ({type(error).__name__}: {finding}); "
                f"nothing in it was executed; {REFETCH}"
            ) from error
        if not isinstance(state, dict) or not all(isinstance(key, str) for key in state):
            raise DamagedModelError(f"{file}: holds a {type(state).__name__}, not a state dict; {REFETCH}")
        for key, tensor in state.items():
            _check(key, tensor, file)
        return {key: tensor.detach() for key, tensor in state.items()}

    def _bytes(self, name: str, limit: int | None) -> bytes:
        """The contents of a file, its size checked first: against `limit`, or against what is packed on disk."""
        file = self.path(name)
        try:
            if self._archive is None:
                size = file.stat().st_size
                allowed = size if limit is None else limit
            else:
                info = self._archive.getinfo(self._inner + name)
                size, packed = info.file_size, min(info.compress_size, self._path.stat().st_size)
                allowed = limit or max(UNSUSPICIOUS, LARGEST_RATIO * packed)
            if size > allowed:
                raise DamagedModelError(f"{file}: would take {size:,} bytes, where {allowed:,} make sense; {REFETCH}")
            # `read` stops at the declared size and compares the checksum.
            return file.read_bytes() if self._archive is None else self._archive.read(info)
        except DamagedModelError:
            raise
        except (KeyError, FileNotFoundError) as error:
            raise DamagedModelError(f"{self._path}: lacks the file {self._inner}{name}; {REFETCH}") from error
        except Exception as error:  # `zipfile` on flipped bits: BadZipFile, zlib.error, NotImplementedError...
            raise DamagedModelError(f"{file}: cannot be read ({type(error).__name__}: {error}); {REFETCH}") from error


def _folders(path: Path) -> list[str]:
    """The empty string, and every folder just below as "name/"."""
    return ["", *(f"{entry.name}/" for entry in sorted(path.iterdir()) if entry.is_dir())]


def _check(key: str, tensor: object, file: Path) -> None:
    """Raises `DamagedModelError` unless `tensor` is a dense tensor of finite numbers as large as its storage."""
    if not isinstance(tensor, Tensor) or tensor.layout != torch.strided or not tensor.is_floating_point():
        raise DamagedModelError(f"{file}: {key} is not a dense tensor of numbers with a point; {REFETCH}")
    # Strides of zero would make a few bytes pretend to be any number of elements.
    if tensor.untyped_storage().nbytes() < tensor.numel() * tensor.element_size():
        raise DamagedModelError(f"{file}: {key} has shape {tuple(tensor.shape)} but fewer numbers; {REFETCH}")
    if tensor.numel() and not torch.isfinite(torch.stack(torch.aminmax(tensor))).all():
        raise DamagedModelError(f"{file}: {key} holds values that are not finite numbers; {REFETCH}")
