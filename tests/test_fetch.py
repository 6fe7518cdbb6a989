"""Fetching, against a server of our own on this machine; the only network asked is 127.0.0.1."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from polyseme import fetch
from polyseme.errors import FetchError
from polyseme.fetch import home, resolve

WEIGHTS = bytes(range(256)) * 40  # 10,240 bytes, no two neighbours alike
SHA256 = hashlib.sha256(WEIGHTS).hexdigest()


@dataclass
class Site:
    """What the server does, and what it was asked. `cuts`: of the next replies, how many bytes get through."""

    address: str = ""
    content: bytes = WEIGHTS
    etag: str | None = '"v1"'
    ranges: bool = True
    chunked: bool = False
    cuts: list[int] = field(default_factory=list)
    asked: list[tuple[str, str | None]] = field(default_factory=list)


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("POLYSEME_HOME", str(tmp_path / "home of polyseme"))
    for name in ("POLYSEME_OFFLINE", "HF_HUB_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(site))
    site.address = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield site
    server.shutdown()
    thread.join()
    server.server_close()


def _handler(site: Site) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *arguments: Any) -> None:
            pass

        def do_GET(self) -> None:
            wanted = self.headers.get("Range")
            site.asked.append((self.path, wanted))
            self.close_connection = True
            if self.path.startswith("/old/"):
                self.send_response(302)
                self.send_header("Location", self.path.replace("/old/", "/new/"))
                self.send_header("Content-Length", "0")
                self.end_headers()
            elif self.path.startswith("/nothing"):
                self.send_error(404)
            else:
                self.send_content(wanted)

        def send_content(self, wanted: str | None) -> None:
            begin = 0
            if wanted and site.ranges and self.headers.get("If-Range") == site.etag:
                begin = int(re.fullmatch(r"bytes=(\d+)-", wanted)[1])  # type: ignore[index]
            if begin > len(site.content):
                self.send_error(416)
                return
            body = site.content[begin:]
            self.send_response(206 if begin else 200)
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{len(site.content) - 1}/{len(site.content)}")
            if site.etag:
                self.send_header("ETag", site.etag)
            self.send_header(
                *(("Transfer-Encoding", "chunked") if site.chunked else ("Content-Length", str(len(body))))
            )
            self.end_headers()
            cut = site.cuts.pop(0) if site.cuts else len(body)
            if site.chunked:
                ending = b"\r\n0\r\n\r\n" if cut == len(body) else b""
                self.wfile.write(f"{len(body):x}\r\n".encode() + body[:cut] + ending)
            else:
                self.wfile.write(body[:cut])

    return Handler


def left_overs() -> list[str]:
    """Files below home that are neither a finished download nor its lock."""
    return sorted(file.name for file in home().rglob("*") if file.suffix in (".part", ".tag"))


# --- local first


def test_a_local_path_is_used_as_it_is(site: Site, awkward_path: Path) -> None:
    assert resolve(awkward_path) == awkward_path
    assert resolve(str(awkward_path)) == awkward_path
    assert site.asked == []


def test_a_path_that_does_not_exist_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MODELS", tmp_path / "no models")
    with pytest.raises(FetchError, match="does not exist"):
        resolve(tmp_path / "org" / "name")
    with pytest.raises(FetchError, match=r"no path on this machine.*elmo-original.*no model ships"):
        resolve("no-such-model")
    with pytest.raises(FetchError, match="no path on this machine"):
        resolve("x" * 5000)


def test_a_name_that_ships_is_a_folder_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "MODELS", tmp_path / "models")
    folder = tmp_path / "models" / "en-small"
    folder.mkdir(parents=True)
    with pytest.raises(FetchError, match="no model ships"):
        resolve("en-small")  # no configuration: no model
    (folder / "config.json").write_bytes(b"{}")
    assert resolve("en-small") == folder
    assert fetch.shipped() == {"en-small": folder}
    with pytest.raises(FetchError, match=r"with the package come en-small$"):
        resolve("zh-small")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "en-small").mkdir()
    assert resolve("en-small") == Path("en-small")  # what lies on this machine is used first


def test_something_is_told_of_every_published_name() -> None:
    assert fetch.ABOUT.keys() == fetch.PUBLISHED.keys()


def test_a_file_put_by_hand_is_found_under_every_spelling_of_its_address() -> None:
    name = "elmo_2x1024_128_2048cnn_1xhighway_options.json"
    path = f"2x1024_128_2048cnn_1xhighway/{name}"
    (home() / "elmo-small").mkdir(parents=True)
    (home() / "elmo-small" / name).write_bytes(b"{}")
    for bucket in fetch.BUCKETS:
        assert resolve(bucket + path) == home() / "elmo-small" / name


def test_a_published_name_is_a_folder_with_options_and_weights(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "BUCKETS", (f"{site.address}/models/elmo/",))
    folder = resolve("elmo-pubmed")
    assert folder == home() / "elmo-pubmed"
    assert sorted(file.name for file in folder.iterdir() if file.suffix != ".lock") == [
        "elmo_2x4096_512_2048cnn_2xhighway_options.json",
        "elmo_2x4096_512_2048cnn_2xhighway_weights_PubMed_only.hdf5",
    ]
    assert [path for path, _ in site.asked] == [f"/models/elmo/{path}" for path in fetch.PUBLISHED["elmo-pubmed"]]


def test_published_places_are_distinct() -> None:
    """PubMed's options have the file name of the original's: they must not stand in for each other."""
    addresses = [fetch.BUCKETS[0] + path for paths in fetch.PUBLISHED.values() for path in paths]
    assert len({fetch._place(address) for address in addresses}) == len(addresses) == 12


# --- downloads


def test_a_download_is_whole_kept_and_fetched_once(site: Site) -> None:
    file = resolve(f"{site.address}/models/weights%20of%20mine.hdf5?version=3")
    assert file.read_bytes() == WEIGHTS
    assert file.name == "weights of mine.hdf5"
    assert file.is_relative_to(home())
    assert resolve(f"{site.address}/models/weights%20of%20mine.hdf5?version=3") == file
    assert len(site.asked) == 1
    assert left_overs() == []


def test_a_redirect_is_followed(site: Site) -> None:
    assert resolve(f"{site.address}/old/weights.hdf5").read_bytes() == WEIGHTS
    assert [path for path, _ in site.asked] == ["/old/weights.hdf5", "/new/weights.hdf5"]


@pytest.mark.parametrize("chunk", [64, 1 << 20])
def test_a_cut_download_goes_on_where_it_broke(site: Site, monkeypatch: pytest.MonkeyPatch, chunk: int) -> None:
    monkeypatch.setattr(fetch, "CHUNK_BYTES", chunk)
    site.cuts = [1000, 2000]
    seen: list[tuple[int, int | None]] = []
    file = resolve(f"{site.address}/w.hdf5", progress=lambda done, total: seen.append((done, total)))
    assert file.read_bytes() == WEIGHTS
    assert [wanted for _, wanted in site.asked] == [None, "bytes=1000-", "bytes=3000-"]
    assert seen[-1] == (len(WEIGHTS), len(WEIGHTS))
    assert sorted(seen) == seen


def test_what_an_earlier_run_downloaded_is_not_downloaded_again(site: Site) -> None:
    site.cuts = [1000, 0, 0, 0, 0]
    with pytest.raises(FetchError, match=r"breaks off after 1,000 bytes; run again to resume"):
        resolve(f"{site.address}/w.hdf5")
    assert left_overs() == ["w.hdf5.part", "w.hdf5.part.tag"]
    site.cuts, site.asked = [], []
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS
    assert site.asked == [("/w.hdf5", "bytes=1000-")]


def test_a_file_that_changed_meanwhile_is_fetched_anew(site: Site) -> None:
    site.cuts = [1000, 0, 0, 0]
    with pytest.raises(FetchError):
        resolve(f"{site.address}/w.hdf5")
    site.content, site.etag, site.cuts = WEIGHTS[::-1], '"v2"', []
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS[::-1]


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_validator_a_cut_download_begins_again(site: Site, etag: str | None) -> None:
    site.etag, site.cuts = etag, [1000]
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS
    assert [wanted for _, wanted in site.asked] == [None, None]


def test_a_server_without_ranges_is_asked_again_from_the_start(site: Site) -> None:
    site.ranges, site.cuts = False, [1000]
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS


def test_a_part_longer_than_the_file_is_thrown_away(site: Site) -> None:
    site.cuts = [1000, 0, 0, 0]
    with pytest.raises(FetchError):
        resolve(f"{site.address}/w.hdf5")
    site.content, site.cuts = WEIGHTS[:500], []
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS[:500]


def test_a_stream_of_unstated_length_that_breaks_is_not_taken_for_whole(site: Site) -> None:
    site.chunked, site.cuts = True, [1000]
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS
    assert len(site.asked) == 2


def test_several_who_ask_at_once_get_one_download(site: Site) -> None:
    with ThreadPoolExecutor(4) as pool:
        files = list(pool.map(resolve, [f"{site.address}/w.hdf5"] * 4))
    assert len(set(files)) == 1
    assert files[0].read_bytes() == WEIGHTS
    assert len(site.asked) == 1


# --- checksums


def test_a_right_checksum_passes(site: Site) -> None:
    assert resolve(f"{site.address}/a.hdf5#sha256={SHA256}").read_bytes() == WEIGHTS
    assert resolve(f"{site.address}/b.hdf5", sha256=SHA256.upper()).read_bytes() == WEIGHTS
    assert [path for path, _ in site.asked] == ["/a.hdf5", "/b.hdf5"]


def test_a_wrong_checksum_removes_what_was_downloaded(site: Site) -> None:
    site.content = b"not the weights"
    with pytest.raises(FetchError, match=rf"not {SHA256}; what was downloaded is removed. To put it there by hand"):
        resolve(f"{site.address}/w.hdf5", sha256=SHA256)
    assert [file for file in home().rglob("*") if file.is_file() and file.suffix in (".hdf5", ".part")] == []


def test_a_kept_file_with_another_checksum_is_an_error_and_stays(site: Site) -> None:
    file = resolve(f"{site.address}/w.hdf5")
    file.write_bytes(b"edited")
    with pytest.raises(FetchError, match="delete it to fetch it again"):
        resolve(f"{site.address}/w.hdf5", sha256=SHA256)
    assert file.read_bytes() == b"edited"


# --- refusals


def test_a_missing_file_names_the_answer_and_the_place(site: Site) -> None:
    with pytest.raises(FetchError, match=r"/nothing/w.hdf5: the server answers 404 .*save http.* as .*w\.hdf5"):
        resolve(f"{site.address}/nothing/w.hdf5")
    assert left_overs() == []


def test_no_network_names_the_place() -> None:
    with pytest.raises(FetchError, match=r"cannot be reached .*save http://127.0.0.1:9/w.hdf5 as "):
        resolve("http://127.0.0.1:9/w.hdf5")  # the discard port: nothing listens


@pytest.mark.parametrize("variable", ["POLYSEME_OFFLINE", "HF_HUB_OFFLINE"])
def test_offline_asks_nobody(site: Site, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    monkeypatch.setenv(variable, "1")
    with pytest.raises(FetchError, match=r"network is switched off\. To put it there by hand"):
        resolve(f"{site.address}/w.hdf5")
    assert site.asked == []
    monkeypatch.setenv(variable, "0")
    assert resolve(f"{site.address}/w.hdf5").read_bytes() == WEIGHTS


def test_a_home_that_cannot_be_written_is_said(site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("POLYSEME_HOME", str(tmp_path / "file"))
    with pytest.raises(FetchError, match=r"cannot write .*set POLYSEME_HOME"):
        resolve(f"{site.address}/w.hdf5")


def test_an_address_cannot_lead_out_of_home(site: Site) -> None:
    for address in ("/a/..%2f..%2fw.hdf5", "/..", "/a/", "/a/..%5cw.hdf5"):
        file = resolve(site.address + address)
        assert file.resolve().is_relative_to(home().resolve())
        assert file.read_bytes() == WEIGHTS


def test_home_is_the_platforms_cache_unless_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("POLYSEME_HOME", raising=False)
    monkeypatch.setattr(fetch.sys, "platform", "linux")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert home() == tmp_path / "polyseme"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert home() == Path.home() / ".cache" / "polyseme"
    monkeypatch.setattr(fetch.sys, "platform", "win32")
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    assert home() == tmp_path / "polyseme"
    monkeypatch.setattr(fetch.sys, "platform", "darwin")
    assert home() == Path.home() / "Library" / "Caches" / "polyseme"


# --- the hub


def test_a_hub_id_is_a_snapshot(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[tuple[object, ...]] = []

    def snapshot_download(repository: str, *, revision: str | None, local_files_only: bool) -> str:
        asked.append((repository, revision, local_files_only))
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    assert resolve("polyseme/en-small") == tmp_path
    assert resolve("hf://polyseme/en-small@v1.0") == tmp_path
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert resolve("polyseme/en-small") == tmp_path
    assert asked == [
        ("polyseme/en-small", None, False),
        ("polyseme/en-small", "v1.0", False),
        ("polyseme/en-small", None, True),
    ]


def test_a_hub_id_offline_names_the_place_and_uses_what_was_put_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("POLYSEME_OFFLINE", "1")
    with pytest.raises(FetchError, match=r"cannot be had from the hub .*save its files in .*hub"):
        resolve("no-such-organisation-of-ours/no-such-model")
    folder = home() / "hub" / "no-such-organisation-of-ours" / "no-such-model"
    folder.mkdir(parents=True)
    assert resolve("no-such-organisation-of-ours/no-such-model") == folder
