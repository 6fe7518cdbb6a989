"""Where a model comes from: a local path, an address, a published name or a hub id -> a local file or folder.

What lies on this machine is used first; the network is asked only for a source that is not here, and every refusal says
where a file put by hand would be found. Downloads go to `home()` under a temporary name, go on where they were cut off,
are checked (length; SHA-256 where it is known) and only then get their name, so a file that has it is whole.

The addresses of `PUBLISHED` are those of AllenNLP's tutorial and of flair's `legacy.py`; old code holds them as
strings. No checksums of these files were ever published.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import re
import sys
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import unquote, urlsplit

from filelock import FileLock

from polyseme._version import __version__
from polyseme.errors import FetchError, OptionError
from polyseme.text.languages import language_code

Progress = Callable[[int, int | None], None]  # bytes so far, bytes in all where the server says

BUCKETS = (
    "https://allennlp.s3.amazonaws.com/models/elmo/",
    "https://s3-us-west-2.amazonaws.com/allennlp/models/elmo/",
    "https://s3.amazonaws.com/allennlp/models/elmo/",
)
_ORIGINAL = "2x4096_512_2048cnn_2xhighway"


def _sizes(folder: str) -> tuple[str, str]:
    return f"{folder}/elmo_{folder}_options.json", f"{folder}/elmo_{folder}_weights.hdf5"


# Published name -> options and weights, below any of BUCKETS.
PUBLISHED: dict[str, tuple[str, str]] = {
    "elmo-small": _sizes("2x1024_128_2048cnn_1xhighway"),
    "elmo-medium": _sizes("2x2048_256_2048cnn_1xhighway"),
    "elmo-original": _sizes(_ORIGINAL),
    "elmo-original-5.5b": _sizes(f"{_ORIGINAL}_5.5B"),
    "elmo-pubmed": (
        f"contributed/pubmed/elmo_{_ORIGINAL}_options.json",
        f"contributed/pubmed/elmo_{_ORIGINAL}_weights_PubMed_only.hdf5",
    ),
    "elmo-portuguese": ("contributed/pt/elmo_pt_options.json", "contributed/pt/elmo_pt_weights.hdf5"),
}


@dataclass(frozen=True)
class About:
    """What its makers said of a published model. `parameters`: millions, without the softmax; None: not known."""

    language: str
    data: str
    parameters: float | None
    licence: str = "not stated"


_BILLION = "1 Billion Word Benchmark"
# Of the names of PUBLISHED; the figures are those of the makers' page (allennlp.org/elmo).
ABOUT: dict[str, About] = {
    "elmo-small": About("en", _BILLION, 13.6),
    "elmo-medium": About("en", _BILLION, 28.0),
    "elmo-original": About("en", _BILLION, 93.6),
    "elmo-original-5.5b": About("en", "Wikipedia and news of WMT 2008-2012", 93.6),
    "elmo-pubmed": About("en", "PubMed", 93.6),
    "elmo-portuguese": About("pt", "Wikipedia", None),
}
MODELS = Path(__file__).parent / "models"  # those that ship inside the package, each a folder of Polyseme's own format
TASKS = MODELS.with_name("ready")  # tasks that were fitted on them, each a folder of `task fit`

CHUNK_BYTES = 1 << 20
TIMEOUT_SECONDS = 30.0
FRUITLESS_ATTEMPTS = 3  # in a row; a cut connection that brought something is always resumed


def home() -> Path:
    """The folder of downloads: $POLYSEME_HOME, or `polyseme` in the platform's cache folder."""
    if chosen := os.environ.get("POLYSEME_HOME"):
        return Path(chosen).expanduser()
    if sys.platform == "win32":
        local = os.environ.get("LOCALAPPDATA")
        return (Path(local) if local else Path.home() / "AppData" / "Local") / "polyseme"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "polyseme"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "polyseme"


def offline() -> bool:
    """Whether the network is never to be asked: $POLYSEME_OFFLINE or $HF_HUB_OFFLINE is set."""
    answers = (os.environ.get(name, "").lower() for name in ("POLYSEME_OFFLINE", "HF_HUB_OFFLINE"))
    return any(answer not in ("", "0", "false", "no", "off") for answer in answers)


def shipped() -> dict[str, Path]:
    """The models inside the package: name -> folder."""
    return {folder.name: folder for folder in sorted(MODELS.glob("*")) if (folder / "config.json").is_file()}


def ready_tasks() -> dict[str, Path]:
    """The tasks inside the package, fitted already on its models: name -> folder."""
    return {folder.name: folder for folder in sorted(TASKS.glob("*")) if (folder / "config.json").is_file()}


def shipped_for(language: str | None) -> str:
    """The name of the model inside the package for a language, by default English. Raises `OptionError`."""
    inside = shipped()
    name = f"{language_code(language) if language else 'en'}-small"
    if name in inside:
        return name
    if inside:
        raise OptionError(
            f"no model ships for the language {language!r} ({', '.join(inside)} do); give one with --model"
        )
    raise OptionError("--model is missing, and no model ships with this version of Polyseme; give any published ELMo")


@dataclass(frozen=True)
class Download:
    """A model below `home()`. `source`: what names it where a model is asked for; `whole`: nothing of it is missing."""

    source: str
    path: Path
    bytes: int
    whole: bool


def downloads() -> list[Download]:
    """What lies below `home()`: published models, files of addresses, hub models put there by hand.

    What came from the hub lies in the hub's own cache, together with what other programs fetched.
    """
    found = []
    for name, paths in PUBLISHED.items():
        folder = home() / name
        if (n_bytes := _bytes_below(folder)) is not None:
            whole = all((folder / path.rpartition("/")[2]).is_file() for path in paths)
            found.append(Download(name, folder, n_bytes, whole))
    for folder in sorted((home() / "downloads").glob("*")):
        for file in sorted(entry for entry in folder.glob("*") if entry.suffix not in (".lock", ".tag")):
            whole = file.suffix != ".part"
            found.append(Download(str(file), file, file.stat().st_size, whole))
    for folder in sorted(entry for entry in (home() / "hub").glob("*/*") if entry.is_dir()):
        source = f"{folder.parent.name}/{folder.name}"
        found.append(Download(source, folder, _bytes_below(folder) or 0, True))
    return found


def _bytes_below(folder: Path) -> int | None:
    """The size of all files; None where there is none."""
    sizes = [
        file.stat().st_size for file in folder.rglob("*") if file.is_file() and file.suffix not in (".lock", ".tag")
    ]
    return sum(sizes) if sizes else None


def resolve(source: str | Path, *, sha256: str | None = None, progress: Progress | None = None) -> Path:
    """The local file or folder that `source` names, fetched if it must be.

    `source`: a path; `https://...`, also with `#sha256=<hex>`; a name of `shipped()` or `PUBLISHED`;
    `hf://org/name[@revision]` or `org/name`. Raises `FetchError`, which says where to put the files by hand.
    """
    if isinstance(source, Path) or _exists(source):
        if not Path(source).exists():
            raise FetchError(f"{source} does not exist; give a model's folder, archive or weight file")
        return Path(source)
    if re.match(r"https?://", source):
        address, _, fragment = source.partition("#")
        return _file(address, _place(address), sha256 or fragment.removeprefix("sha256=") or None, progress)
    if (folder := shipped().get(source)) is not None:
        return folder
    if source in PUBLISHED:
        files = [_file(BUCKETS[0] + path, _place(BUCKETS[0] + path), None, progress) for path in PUBLISHED[source]]
        return files[0].parent
    if found := re.fullmatch(r"(?:hf://)?([\w.-]+/[\w.-]+?)(?:@([\w./-]+))?", source):
        return _hub(found[1], found[2])
    inside = ", ".join(shipped())
    raise FetchError(
        f"{source!r} is no path on this machine, no https:// address and no hub id (org/name); published names are "
        f"{', '.join(PUBLISHED)}; "
        + (f"with the package come {inside}" if inside else "no model ships inside this version of the package yet")
    )


def _exists(source: str) -> bool:
    try:
        return Path(source).exists()
    except (OSError, ValueError):  # too long for a path, or a null byte: then it is none
        return False


def _place(address: str) -> Path:
    """Where the file of `address` lies, or will lie: the same for every spelling of a published address."""
    for bucket in BUCKETS:
        for name, paths in PUBLISHED.items():
            if address.removeprefix(bucket) in paths:
                return home() / name / address.rpartition("/")[2]
    name = re.sub(r'[\\/:*?"<>|\x00-\x1f]', "_", unquote(urlsplit(address).path.rpartition("/")[2]))
    folder = hashlib.sha256(address.encode()).hexdigest()[:12]
    return home() / "downloads" / folder / (name.lstrip(".") or "model")


def _file(address: str, target: Path, sha256: str | None, progress: Progress | None) -> Path:
    """`target`, downloaded where it is missing. Several processes may ask at once: one of them downloads."""
    by_hand = f"To put it there by hand, save {address} as {target}"
    if not target.is_file():
        if offline():
            raise FetchError(f"{address} is not on this machine, and the network is switched off. {by_hand}")
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{target}.lock"):
                if not target.is_file():
                    _download(address, target, sha256, progress, by_hand)
        except OSError as error:
            raise FetchError(f"cannot write {target}: {error}; free some room or set POLYSEME_HOME") from error
    elif sha256 and (found := _digest(target)) != sha256.lower():
        raise FetchError(f"{target} has SHA-256 {found}, not {sha256}; delete it to fetch it again")
    return target


def _download(address: str, target: Path, sha256: str | None, progress: Progress | None, by_hand: str) -> None:
    part = target.with_name(target.name + ".part")
    fruitless, before = 0, -1
    while not _transfer(address, part, progress, by_hand):
        size = part.stat().st_size if part.exists() else 0
        fruitless, before = (0 if size > before else fruitless + 1), max(size, before)
        if fruitless == FRUITLESS_ATTEMPTS:
            raise FetchError(
                f"{address}: the connection breaks off after {size:,} bytes; run again to resume. {by_hand}"
            )
    if sha256 and (found := _digest(part)) != sha256.lower():
        part.unlink()
        raise FetchError(f"{address} has SHA-256 {found}, not {sha256}; what was downloaded is removed. {by_hand}")
    part.replace(target)
    _tag_file(part).unlink(missing_ok=True)


def _transfer(address: str, part: Path, progress: Progress | None, by_hand: str) -> bool:
    """One request, which goes on behind what `part` holds; whether the file is now whole."""
    headers = {"User-Agent": f"polyseme/{__version__}", "Accept-Encoding": "identity"}
    done = part.stat().st_size if part.exists() else 0
    tag = _tag_file(part).read_text(encoding="ascii") if done and _tag_file(part).exists() else ""
    if tag:  # without a validator the rest could be that of another file
        headers |= {"Range": f"bytes={done}-", "If-Range": tag}
    try:
        reply = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_SECONDS)
    except urllib.error.HTTPError as error:
        with error:
            if error.code == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                part.unlink(missing_ok=True)  # longer than the file is: begin again
                return False
        raise FetchError(f"{address}: the server answers {error.code} {error.reason}. {by_hand}") from error
    except (OSError, http.client.HTTPException) as error:
        raise FetchError(f"{address} cannot be reached ({error}). {by_hand}") from error
    with reply:
        resumed = reply.status == HTTPStatus.PARTIAL_CONTENT and _begins_at(reply, done)
        done = done if resumed else 0
        _tag_file(part).write_text(_validator(reply), encoding="ascii")
        length = reply.headers.get("Content-Length")
        total = done + int(length) if length else None
        with part.open("ab" if resumed else "wb") as file:
            while chunk := _read(reply):
                file.write(chunk)
                done += len(chunk)
                if progress is not None:
                    progress(done, total)
    return chunk is not None and (total is None or done == total)


def _read(reply: http.client.HTTPResponse) -> bytes | None:
    """The next bytes, none at the end, None where the connection breaks."""
    try:
        return reply.read(CHUNK_BYTES)
    except (OSError, http.client.HTTPException):
        return None


def _begins_at(reply: http.client.HTTPResponse, done: int) -> bool:
    return reply.headers.get("Content-Range", "").startswith(f"bytes {done}-")


def _validator(reply: http.client.HTTPResponse) -> str:
    """What `If-Range` may hold: a strong entity tag, otherwise a date; "" where the server gives neither."""
    tag = reply.headers.get("ETag", "")
    chosen = tag if tag.startswith('"') else reply.headers.get("Last-Modified", "")
    return chosen if chosen.isascii() else ""


def _tag_file(part: Path) -> Path:
    return part.with_name(part.name + ".tag")


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _hub(repository: str, revision: str | None) -> Path:
    """A snapshot of a hub repository, in the hub's own cache ($HF_HOME), which other programs share."""
    by_hand = home() / "hub" / repository
    if by_hand.is_dir() and revision is None:
        return by_hand
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(repository, revision=revision, local_files_only=offline()))
    except Exception as error:  # its releases raise errors of different HTTP libraries
        reason = str(error).strip().partition("\n")[0]
        raise FetchError(
            f"{repository} is no path on this machine, and cannot be had from the hub "
            f"({type(error).__name__}: {reason}). To put it there by hand, save its files in {by_hand}"
        ) from error
