"""Corpora and outputs behind addresses, on a real S3 interface and web servers of this machine.

moto's server keeps the objects. Before it stands a relay that counts bytes and cuts connections.
"""

from __future__ import annotations

import gzip
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.pretraining.tiny_tokenizers import write_ours
from vocabkit.core import remote
from vocabkit.core.errors import CorpusError, CountsError, MissingExtra, OutputError
from vocabkit.core.folders import find_address
from vocabkit.core.records import read_manifest
from vocabkit.corpus.counting import CountOptions, count_corpus
from vocabkit.corpus.reading import Repairs, read_documents, zstd
from vocabkit.corpus.sources import open_corpus
from vocabkit.corpus.word_counts import WordCounts
from vocabkit.pretraining.prepared import PreparedCorpus
from vocabkit.pretraining.preparing import PrepareOptions, prepare_corpus

pytest.importorskip("s3fs")
moto = pytest.importorskip("moto.server")

ONE = CountOptions(workers=1)
LINES = [f"line {n} of {n % 7} words, Ẹ kú àárọ̀" for n in range(3_000)]
TEXT = ("\n".join(LINES) + "\n").encode()


class Relay:
    """Hands bytes on between a client and a server; may close connections after so many, or all."""

    def __init__(self, target: tuple[str, int]) -> None:
        self.sent = 0
        self.cuts: list[int] = []  # of the next connections: bytes after which each is closed
        self.puts: list[str] = []  # names of what was sent up
        self.most_puts: int | None = None  # what is sent after so many is cut off
        self._target = target
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self) -> None:
        # `close` alone leaves the thread waiting in `accept`, and the port open.
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._socket.accept()
            except OSError:
                return
            server = socket.create_connection(self._target)
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()
            threading.Thread(target=self._pump, args=(server, client, True), daemon=True).start()

    def _pump(self, source: socket.socket, sink: socket.socket, down: bool = False) -> None:
        left: int | None = None
        with suppress(OSError):
            while data := source.recv(1 << 14):
                if not down and data.startswith(b"PUT "):
                    if self.most_puts == len(self.puts):
                        break
                    self.puts.append(data.split(b" ")[1].decode().rpartition("/")[2])
                if down:
                    if self.cuts and left is None and len(data) > 2_000:
                        left = self.cuts.pop()  # an answer with content begins
                    if left is not None:
                        data = data[:left]
                        left -= len(data)
                    self.sent += len(data)
                sink.sendall(data)
                if left == 0:
                    break
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture(scope="module")
def relay() -> Iterator[Relay]:
    import fsspec

    server = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    made = Relay(server.get_host_and_port())
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("AWS_ACCESS_KEY_ID", "a")
        patch.setenv("AWS_SECRET_ACCESS_KEY", "b")
        patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        patch.setenv("AWS_MAX_ATTEMPTS", "1")  # boto's own tries take seconds
        patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{made.port}")
        fsspec.filesystem("s3").mkdir("bucket")
        yield made
    made.close()
    server.stop()


@pytest.fixture
def store(relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The file system of an empty bucket."""
    import fsspec

    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(remote, "_PATIENCE", 0.01)
    relay.cuts.clear()
    files = fsspec.filesystem("s3")
    files.invalidate_cache()
    yield files
    for path in files.find("bucket"):
        files.rm_file(path)
    files.invalidate_cache()


def write_parquet(path: Path, lines: int = 3_000, group: int = 2_048) -> Path:
    query = f"SELECT 'row ' || i || ' ' || md5(i::VARCHAR) AS text, i FROM range({lines}) t(i)"
    duckdb.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, ROW_GROUP_SIZE {group})")
    return path


def fill(root: Path) -> Path:
    (root / "yor_Latn").mkdir(parents=True)
    (root / "eng_Latn.txt").write_bytes(TEXT)
    (root / "yor_Latn" / "a.txt.zst").write_bytes(zstd.compress(TEXT[::-1].decode(errors="ignore").encode()))
    (root / "yor_Latn" / "b.jsonl").write_text('{"text": "ẹ kú"}\n' * 50, encoding="utf-8")
    write_parquet(root / "hau_Latn.parquet")
    (root / "README.md").write_text("no text of a language", encoding="utf-8")
    return root


def test_a_folder_in_object_storage_is_counted_as_one_of_the_disk(store: Any, tmp_path: Path) -> None:
    local = fill(tmp_path / "corpus")
    store.put(f"{local}/", "bucket/corpus/", recursive=True)
    corpus = open_corpus("s3://bucket/corpus")
    assert corpus.ignored == ("s3://bucket/corpus/README.md: not a data file",)
    # A command line gives a `Path`, which folds the slashes of an address.
    assert open_corpus(Path("s3://bucket/corpus")) == corpus
    here = count_corpus(open_corpus(local), tmp_path / "here", ONE)
    there = count_corpus(corpus, tmp_path / "there", ONE)
    assert WordCounts.load(tmp_path / "there").fingerprint == WordCounts.load(tmp_path / "here").fingerprint
    assert there.rows == here.rows
    again = open_corpus(tmp_path / "there" / "config.toml")
    assert {code: [s.path for s in group] for code, group in again.sources.items()} == {
        code: [s.path for s in group] for code, group in corpus.sources.items()
    }
    picked = open_corpus("s3://bucket/corpus/*_Latn/*.jsonl")
    assert [(s.language, s.path) for s in picked.sources["yor_Latn"]] == [
        ("yor_Latn", "s3://bucket/corpus/yor_Latn/b.jsonl")
    ]
    assert open_corpus("s3://bucket/corpus/eng_Latn.txt").languages == ("eng_Latn",)
    assert open_corpus(str(local / "*.txt")).languages == ("eng_Latn",)
    for wrong in ("s3://bucket/none", "s3://bucket/corpus/*.csv", "s3://no-such-bucket/corpus"):
        with pytest.raises(CorpusError, match=wrong.replace("*", r"\*")):
            open_corpus(wrong)


@pytest.mark.parametrize("part", [1 << 30, 40_000])
def test_parts_of_remote_files_are_the_files(
    store: Any, tmp_path: Path, part: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = fill(tmp_path / "corpus")
    store.put(f"{local}/", "bucket/corpus/", recursive=True)
    wanted = count_corpus(open_corpus(local), tmp_path / "here", ONE)
    monkeypatch.setattr("vocabkit.corpus.sources.PART_BYTES", part)
    found = count_corpus(open_corpus("s3://bucket/corpus"), tmp_path / "there", CountOptions(workers=1))
    assert found.fingerprint == wanted.fingerprint
    assert found.rows == wanted.rows


def test_parquet_is_fetched_once(store: Any, relay: Relay, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "hau_Latn.parquet", 100_000, 10_000)
    store.put_file(str(path), "bucket/p/hau_Latn.parquet")
    (source,) = open_corpus("s3://bucket/p").sources["hau_Latn"]
    before = relay.sent
    read = [text for batch in read_documents(source, "line", "text", Repairs()) for text in batch]
    assert len(read) == 100_000
    # Two columns are stored, and one is asked for. 20 kB are left for heads of answers.
    assert relay.sent - before < path.stat().st_size + 20_000


@pytest.mark.parametrize("name", ["eng_Latn.txt", "eng_Latn.parquet"])
def test_a_lost_connection_is_taken_up_again(store: Any, relay: Relay, tmp_path: Path, name: str) -> None:
    path = tmp_path / "local" / name
    path.parent.mkdir()
    write_parquet(path) if "parquet" in name else path.write_bytes(TEXT)
    store.put_file(str(path), f"bucket/c/{name}")
    (wanted,) = open_corpus(path.parent).sources["eng_Latn"]
    (source,) = open_corpus("s3://bucket/c").sources["eng_Latn"]
    relay.cuts[:] = [9_000, 3_000]
    read, local = (list(read_documents(s, "line", "text", Repairs())) for s in (source, wanted))
    assert read == local
    assert relay.cuts == []


def test_a_store_that_is_gone_ends_in_one_error_and_what_is_finished_is_kept(
    store: Any, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    local = fill(tmp_path / "corpus")
    store.put(f"{local}/", "bucket/corpus/", recursive=True)
    corpus = open_corpus("s3://bucket/corpus")
    monkeypatch.setattr(remote, "_TRIES", 1)
    calls = []
    real = remote.RemoteFile.read

    def read(self: remote.RemoteFile, size: int | None = -1) -> bytes:
        calls.append(size)
        if len(calls) > 3:
            relay.cuts[:] = [100] * 50  # from now on every answer breaks off
        return real(self, size)

    monkeypatch.setattr(remote.RemoteFile, "read", read)
    with pytest.raises(CorpusError, match=r"^s3://bucket/corpus/.* the connection was lost after"):
        count_corpus(corpus, tmp_path / "counts", ONE)
    assert not (tmp_path / "counts").exists()
    monkeypatch.undo()
    relay.cuts.clear()
    report = count_corpus(corpus, tmp_path / "counts", ONE)
    assert report.resumed >= 1
    assert report.fingerprint == count_corpus(open_corpus(local), tmp_path / "here", ONE).fingerprint


def test_an_object_put_in_the_place_of_another_is_noticed(store: Any, tmp_path: Path) -> None:
    store.pipe("bucket/c/eng_Latn.txt", b"one two\n")
    count_corpus(open_corpus("s3://bucket/c"), tmp_path / "counts", ONE)
    assert (
        count_corpus(open_corpus("s3://bucket/c"), tmp_path / "counts", ONE, update=True).rows[0].sources == 0
    )
    before = open_corpus("s3://bucket/c")
    store.pipe("bucket/c/eng_Latn.txt", b"two one\n")  # of the same size
    after = open_corpus("s3://bucket/c")
    assert before.sources != after.sources
    with pytest.raises(CountsError, match=r"s3://bucket/c/eng_Latn\.txt: has changed"):
        count_corpus(after, tmp_path / "counts", ONE, update=True)


def test_counts_of_an_earlier_version_are_updated(store: Any, tmp_path: Path) -> None:
    store.pipe("bucket/c/eng_Latn.txt", b"one two\n")
    count_corpus(open_corpus("s3://bucket/c"), tmp_path / "counts", ONE)
    manifest = tmp_path / "counts" / "manifest.json"
    (known,) = read_manifest(tmp_path / "counts")["inputs"].values()
    old = "s3://bucket/c/eng_Latn.txt 8"
    assert known.startswith(f"{old} ")
    manifest.write_text(manifest.read_text().replace(known.replace('"', '\\"'), old))
    store.pipe("bucket/c/yor_Latn.txt", b"three\n")
    counted = count_corpus(open_corpus("s3://bucket/c"), tmp_path / "counts", ONE, update=True)
    assert [row.sources for row in counted.rows] == [0, 1]


# --- Outputs ---------------------------------------------------------------------------------------


def fetch(store: Any, place: str, folder: Path) -> dict[str, bytes]:
    store.invalidate_cache()
    store.get(f"{place}/", f"{folder}/", recursive=True)
    return snapshot(folder)


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != "manifest.json")
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_an_output_in_object_storage_is_whole_or_absent(
    store: Any, relay: Relay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    corpus = open_corpus(fill(tmp_path / "corpus"))
    count_corpus(corpus, tmp_path / "here", ONE)
    relay.puts.clear()
    relay.most_puts = 4
    monkeypatch.setattr(remote, "_TRIES", 1)
    with pytest.raises(OutputError, match=r"lost while it was sent.*the finished folder is kept in"):
        count_corpus(corpus, "s3://bucket/out", ONE)
    relay.most_puts = None
    store.invalidate_cache()
    left = store.find("bucket/out")
    assert left
    assert "bucket/out/languages.json" not in left
    relay.puts.clear()
    monkeypatch.setattr("vocabkit.corpus.counting.map_shards", None)  # nothing is counted anew
    counted = count_corpus(corpus, Path("s3://bucket/out"), ONE)
    assert relay.puts[-1] == "languages.json"
    assert fetch(store, "bucket/out", tmp_path / "fetched") == snapshot(tmp_path / "here")
    assert [row.language for row in counted.rows] == ["eng_Latn", "hau_Latn", "yor_Latn"]
    assert not [*(tmp_path / "cache").rglob("*.parquet")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "corpus", "fetched", "here"]
    with pytest.raises(OutputError, match=r"s3://bucket/out: exists and is not empty"):
        count_corpus(corpus, "s3://bucket/out", ONE)
    with pytest.raises(CountsError, match="--update"):
        count_corpus(corpus, "s3://bucket/out", ONE, update=True)


def test_an_output_in_object_storage_is_replaced_only_where_it_is_ours(store: Any, tmp_path: Path) -> None:
    for code in ("eng_Latn", "yor_Latn"):
        (tmp_path / code).mkdir()
        (tmp_path / code / f"{code}.txt").write_text("a b\nc\n")
    count_corpus(open_corpus(tmp_path / "eng_Latn"), "s3://bucket/out", ONE)
    count_corpus(open_corpus(tmp_path / "yor_Latn"), "s3://bucket/out", ONE, force=True)
    assert {name.split("/")[0] for name in fetch(store, "bucket/out", tmp_path / "f")} == {
        "config.toml", "languages.json", "yor_Latn",
    }  # fmt: skip
    store.pipe("bucket/mine/notes.txt", b"mine")
    with pytest.raises(OutputError, match="was not written by vocabkit"):
        count_corpus(open_corpus(tmp_path / "eng_Latn"), "s3://bucket/mine", ONE, force=True)
    assert store.find("bucket/mine") == ["bucket/mine/notes.txt"]


def test_rows_are_prepared_into_object_storage(store: Any, tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "eng_Latn.txt").write_text("Hunde Katzen the cat\n" * 200)
    corpus, tokenizer = open_corpus(tmp_path / "c"), write_ours(tmp_path / "t")
    options = PrepareOptions(64, workers=1)
    prepare_corpus(corpus, tokenizer, tmp_path / "here", options)
    report = prepare_corpus(corpus, tokenizer, "s3://bucket/rows", options)
    assert "wrote s3://bucket/rows in" in report.describe()
    assert fetch(store, "bucket/rows", tmp_path / "fetched") == snapshot(tmp_path / "here")
    assert PreparedCorpus.load(tmp_path / "fetched").languages == ("eng_Latn",)


def test_other_verbs_write_no_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    counts = WordCounts.from_texts({"eng_Latn": ["a b"]})
    for place in ("s3://bucket/out", Path("gs://bucket/out")):
        with pytest.raises(OutputError, match=r"//bucket/out: only `count` and `prepare` write to an address"):
            counts.save(place)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize(
    ("path", "address"),
    [
        ("s3://b/c", "s3://b/c"), (Path("s3://b/c"), "s3://b/c"), (Path("hf://datasets/a"), "hf://datasets/a"),
        ("HTTPS://h/a.txt", "https://h/a.txt"), ("file:///a", None), ("a/b", None), ("C:/a", None),
        ("/a", None), (Path("a:b"), None),
    ],
)  # fmt: skip
def test_what_an_address_is(path: str | Path, address: str | None) -> None:
    assert find_address(path) == address


def test_a_file_system_that_is_not_installed_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gcsfs", None)
    with pytest.raises(MissingExtra) as caught:
        open_corpus("gs://bucket/corpus")
    assert caught.value.hint == "pip install 'vocabkit[gcs]'"


# --- Web servers -----------------------------------------------------------------------------------


@pytest.fixture
def web(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Relay]:
    """A web server of `tmp_path/web` that knows no ranges, as Python's own."""
    monkeypatch.setattr(remote, "_PATIENCE", 0.01)
    root = tmp_path / "web"
    root.mkdir()

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *arguments: Any) -> None:
            super().__init__(*arguments, directory=os.fspath(root))

        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def send_header(self, name: str, value: str) -> None:
            if name != "Content-Length" or "sized" in self.path:
                super().send_header(name, value)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Quiet)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    made = Relay(("127.0.0.1", server.server_port))
    yield made
    made.close()
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    ("name", "cuts"), [("sized.txt", []), ("sized.txt.gz", [5_000, 2_500]), ("unknown.txt", [])]
)
def test_text_of_a_server_without_ranges_is_read_from_its_start(
    web: Relay, tmp_path: Path, name: str, cuts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("vocabkit.corpus.sources.PART_BYTES", 10_000)
    (tmp_path / "web" / name).write_bytes(gzip.compress(TEXT) if name.endswith(".gz") else TEXT)
    toml = tmp_path / "corpus.toml"
    toml.write_text(f'[languages]\neng_Latn = "http://127.0.0.1:{web.port}/{name}"\n')
    web.cuts[:] = cuts
    counts = count_corpus(open_corpus(toml), tmp_path / "counts", ONE)
    assert counts == WordCounts.from_texts({"eng_Latn": LINES}, held_out=0.02)


def test_parquet_of_a_server_without_ranges_is_refused(web: Relay, tmp_path: Path) -> None:
    (tmp_path / "web" / "sized").mkdir()
    write_parquet(tmp_path / "web" / "sized" / "eng_Latn.parquet")
    url = f"http://127.0.0.1:{web.port}/sized/eng_Latn.parquet"
    with pytest.raises(CorpusError, match=rf"{url}: the server gives no parts of a file"):
        count_corpus(open_corpus(url), tmp_path / "counts", ONE)


def test_parquet_of_a_web_server_is_read(store: Any, relay: Relay, tmp_path: Path) -> None:
    path = write_parquet(tmp_path / "eng_Latn.parquet")
    store.put_file(str(path), "bucket/w/eng_Latn.parquet")
    store.chmod("bucket/w/eng_Latn.parquet", acl="public-read")
    before = relay.sent
    (source,) = open_corpus(f"http://127.0.0.1:{relay.port}/bucket/w/eng_Latn.parquet").sources["eng_Latn"]
    assert relay.sent - before < 5_000 < path.stat().st_size  # not fetched to be looked at
    assert sum(len(batch) for batch in read_documents(source, "line", "text", Repairs())) == 3_000


@pytest.mark.slow
def test_a_data_set_of_the_hub_is_counted(tmp_path: Path) -> None:
    """A stand-in for the Hub on this machine, with the answers that its file system asks for."""
    pytest.importorskip("huggingface_hub")
    local = fill(tmp_path / "corpus")
    sent: list[int] = []

    def describe(path: Path) -> dict[str, object]:
        kind = "file" if path.is_file() else "directory"
        return {
            "type": kind,
            "oid": "1" * 40,
            "size": path.stat().st_size,
            "path": f"data/{path.relative_to(local)}",
        }

    class Hub(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *arguments: object) -> None:
            pass

        def do_GET(self) -> None:
            path, status, data = self.path.partition("?")[0], 200, b""
            if path.startswith("/api/datasets/u/n/tree/main/data"):
                data = json.dumps([describe(item) for item in sorted(local.rglob("*"))]).encode()
            elif path == "/api/datasets/u/n":
                data = b'{"id": "u/n", "sha": "' + b"a" * 40 + b'", "siblings": []}'
            elif path.startswith("/datasets/u/n/resolve/main/data/"):
                data = (local / path.partition("/data/")[2]).read_bytes()
                if asked := self.headers.get("Range"):
                    first, last = asked.removeprefix("bytes=").split("-")
                    status, data = 206, data[int(first) : int(last) + 1]
                sent.append(len(data))
            else:
                status = 404
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # The address of the Hub is read when its library is loaded.
    told = {**os.environ, "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}", "HF_HUB_DISABLE_XET": "1"}
    words = ["count", "hf://datasets/u/n/data", "-o", str(tmp_path / "there"), "--workers", "1"]
    try:
        run = subprocess.run(
            [sys.executable, "-m", "vocabkit", *words], env=told, capture_output=True, check=False
        )
    finally:
        server.shutdown()
        server.server_close()
    assert run.returncode == 0, run.stderr.decode()
    here = count_corpus(open_corpus(local), tmp_path / "here", ONE)
    assert WordCounts.load(tmp_path / "there").fingerprint == here.fingerprint
    assert (
        sum(sent) < 1.1 * sum(path.stat().st_size for path in local.rglob("*_Latn*") if path.is_file()) + 20_000
    )


def test_one_language_is_said_of_what_is_behind_an_address(store: Any, tmp_path: Path) -> None:
    for name in ("part-0.txt", "deep/part-1.txt"):
        store.pipe(f"bucket/c/{name}", b"a b\n")
    corpus = open_corpus("s3://bucket/c", language="yor")
    assert {code: len(group) for code, group in corpus.sources.items()} == {"yor_Latn": 2}
    (source,) = open_corpus("s3://bucket/c/part-0.txt", language="yor").sources["yor_Latn"]
    assert source.path == "s3://bucket/c/part-0.txt"
