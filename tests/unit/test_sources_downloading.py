import errno
import hashlib
import os
import resource
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from pneumonia.errors import UserError
from pneumonia.sources import downloading
from pneumonia.sources.downloading import download

CONTENT = bytes(range(256)) * 8192  # 2 MiB: several reads of the client
HALF = len(CONTENT) // 2
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ETAG = '"version-1"'

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Server(ThreadingHTTPServer):
    """Answers the requests with the behaviours of its script, one after the other; the last one stays."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.script: list[Behaviour] = []
        self.requests: list[dict[str, str]] = []
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """Say nothing of clients that hang up: some tests make them."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/files/archive.zip"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        self.server.requests.append(dict(self.headers))
        script = self.server.script
        (script.pop(0) if len(script) > 1 else script[0])(self)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002
        pass


def answer(
    content: bytes = CONTENT,
    *,
    status: int = 200,
    etag: str | None = ETAG,
    ranges: bool = True,
    length: bool = True,
    kind: str = "application/zip",
    cut: int | None = None,
) -> Behaviour:
    """A server that sends `content`, but only `cut` bytes of what was asked for before it hangs up."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        start = 0
        asked = handler.headers.get("Range")
        version = handler.headers.get("If-Range")
        code = status
        if asked and ranges and status == 200 and version in (None, etag):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
            code = 206
        body = content[start:]
        handler.send_response(code)
        handler.send_header("Content-Type", kind)
        if etag:
            handler.send_header("ETag", etag)
        if length:
            handler.send_header("Content-Length", str(len(body)))
        if code == 206:
            handler.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        handler.end_headers()
        handler.wfile.write(body if cut is None else body[:cut])
        handler.close_connection = True

    return behave


def hang_up(handler: BaseHTTPRequestHandler) -> None:
    handler.close_connection = True


def redirect(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(302)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        thread = threading.Thread(target=running.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield running
        running.closing.set()
        running.shutdown()
        thread.join()


class Case:
    """A download with its folders and the waits it asked for."""

    def __init__(self, folder: Path) -> None:
        self.target = folder / "data" / "raw" / "images.zip"
        self.partial_folder = folder / ".cache" / "downloads"
        self.waits: list[float] = []

    def run(self, url: str, size: int | None = len(CONTENT), sha256: str | None = SHA256) -> None:
        download(url, self.target, size, sha256, self.partial_folder, wait=self.waits.append)

    @property
    def parts(self) -> list[bytes]:
        return [path.read_bytes() for path in self.partial_folder.glob("*.part")]


@pytest.fixture
def case(tmp_path: Path) -> Case:
    return Case(tmp_path)


def assert_whole(case: Case) -> None:
    assert case.target.read_bytes() == CONTENT
    assert list(case.target.parent.iterdir()) == [case.target]
    assert {path.suffix for path in case.partial_folder.iterdir()} <= {".lock"}


def test_a_whole_file(server: Server, case: Case) -> None:
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)
    assert len(server.requests) == 1
    assert case.waits == []


@pytest.mark.parametrize("length", [True, False])
def test_a_break_midway_is_continued_from_there(server: Server, case: Case, length: bool) -> None:
    server.script = [answer(cut=HALF, length=length), answer()]
    case.run(server.url)
    assert_whole(case)
    asked = int(server.requests[1]["Range"].removeprefix("bytes=").removesuffix("-"))
    assert 0 < asked <= HALF
    assert server.requests[1]["If-Range"] == ETAG
    assert case.waits == [1]


def test_a_later_run_continues(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF), hang_up]
    with pytest.raises(
        UserError, match=r"archive\.zip could not be downloaded: the connection to 127\.0\.0\.1 failed"
    ):
        case.run(server.url)
    assert not case.target.exists()
    (part,) = case.parts
    assert part
    assert CONTENT.startswith(part)
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)
    assert server.requests[-1]["Range"] == f"bytes={len(part)}-"


def test_many_breaks_are_fine_as_long_as_something_comes(server: Server, case: Case) -> None:
    server.script = [*[answer(cut=len(CONTENT) // 7)] * 6, answer()]
    case.run(server.url)
    assert_whole(case)
    assert len(server.requests) > downloading.ATTEMPTS
    assert set(case.waits) == {1}


def test_a_server_without_ranges_sends_it_again(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF), answer(ranges=False)]
    case.run(server.url)
    assert_whole(case)


def test_a_server_that_always_breaks_at_the_same_place_is_given_up(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF, ranges=False)]
    with pytest.raises(UserError, match=r"the connection to .* failed"):
        case.run(server.url)
    assert len(server.requests) == downloading.ATTEMPTS
    assert case.waits == [1, 2, 4]


def test_a_file_that_changed_is_not_spliced(server: Server, case: Case) -> None:
    changed = bytes(reversed(CONTENT))
    server.script = [answer(cut=HALF), answer(changed, etag='"version-2"')]
    case.run(server.url, sha256=None)
    assert case.target.read_bytes() == changed


def test_a_file_that_changed_between_runs_is_not_spliced(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF), hang_up]
    with pytest.raises(UserError):
        case.run(server.url, sha256=None)
    changed = bytes(reversed(CONTENT))
    server.script = [answer(changed, etag='"version-2"')]
    case.run(server.url, sha256=None)
    assert case.target.read_bytes() == changed


@pytest.mark.parametrize("etag", [None, 'W/"weak"'])
def test_without_a_version_and_a_digest_nothing_is_continued(
    server: Server, case: Case, etag: str | None
) -> None:
    server.script = [answer(cut=HALF, etag=etag), answer(etag=etag)]
    case.run(server.url, sha256=None)
    assert_whole(case)
    assert all("Range" not in request for request in server.requests)


def test_without_a_version_the_digest_is_enough(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF, etag=None), answer(etag=None)]
    case.run(server.url)
    assert_whole(case)
    assert "Range" in server.requests[1]


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_no_content_length(server: Server, case: Case, size: int | None) -> None:
    server.script = [answer(length=False)]
    case.run(server.url, size=size)
    assert_whole(case)


def test_another_part_than_asked_for_is_not_appended(server: Server, case: Case) -> None:
    def wrong_part(handler: BaseHTTPRequestHandler) -> None:
        body = CONTENT[-1000:]
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(body)))
        handler.send_header("Content-Range", f"bytes {len(CONTENT) - 1000}-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(body)

    server.script = [answer(cut=HALF), wrong_part, answer()]
    case.run(server.url)
    assert_whole(case)


def test_a_whole_part_file_is_not_asked_for_again(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF), hang_up]
    with pytest.raises(UserError):
        case.run(server.url)
    (path,) = case.partial_folder.glob("*.part")
    path.write_bytes(CONTENT)
    requests = len(server.requests)
    case.run(server.url)
    assert_whole(case)
    assert len(server.requests) == requests


def test_a_whole_part_file_of_unknown_size(server: Server, case: Case) -> None:
    def nothing_left(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(416)
        handler.send_header("Content-Range", f"bytes */{len(CONTENT)}")
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    server.script = [answer(cut=HALF), hang_up]
    with pytest.raises(UserError):
        case.run(server.url, size=None)
    (path,) = case.partial_folder.glob("*.part")
    path.write_bytes(CONTENT)
    server.script = [nothing_left]
    case.run(server.url, size=None)
    assert_whole(case)


def test_a_part_file_longer_than_the_file_starts_again(server: Server, case: Case) -> None:
    server.script = [answer(cut=HALF), hang_up]
    with pytest.raises(UserError):
        case.run(server.url)
    (path,) = case.partial_folder.glob("*.part")
    path.write_bytes(CONTENT * 2)
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)


@pytest.mark.parametrize(
    ("page", "kind"),
    [
        (b"<p>Please log in</p>", "text/html; charset=utf-8"),
        (b"\n<!DOCTYPE html><title>Maintenance</title>", "application/zip"),
    ],
)
@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_a_web_page_is_noticed_and_destroys_nothing(
    server: Server, case: Case, page: bytes, kind: str, size: int | None
) -> None:
    server.script = [answer(cut=HALF), hang_up]
    with pytest.raises(UserError):
        case.run(server.url, size)
    before = case.parts
    server.script = [answer(page, kind=kind, ranges=False)]
    with pytest.raises(UserError, match=r"127\.0\.0\.1 sent a web page instead of the file"):
        case.run(server.url, size)
    assert case.parts == before
    assert not case.target.exists()


def test_md5_is_checked_where_nothing_better_was_published(server: Server, case: Case) -> None:
    md5 = hashlib.md5(CONTENT).hexdigest()
    server.script = [answer(CONTENT[:-1] + b"x"), answer()]
    with pytest.raises(UserError, match=f"its MD5 is .* and {md5} was published"):
        download(server.url, case.target, None, None, case.partial_folder, md5=md5.upper(), wait=print)
    assert case.parts == []
    download(server.url, case.target, None, None, case.partial_folder, md5=md5.upper(), wait=print)
    assert_whole(case)


def test_a_wrong_digest_removes_what_came(server: Server, case: Case) -> None:
    corrupted = CONTENT[:-1] + b"x"
    server.script = [answer(corrupted)]
    with pytest.raises(UserError, match=f"SHA-256 is {hashlib.sha256(corrupted).hexdigest()} and {SHA256}"):
        case.run(server.url)
    assert case.parts == []
    assert not case.target.exists()
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)


def test_another_length_than_published_is_refused_at_once(server: Server, case: Case) -> None:
    server.script = [answer(CONTENT + b"more")]
    with pytest.raises(UserError, match="offers 2,097,156 bytes and 2,097,152 were published"):
        case.run(server.url)
    assert len(server.requests) == 1
    assert case.parts == []


def test_a_shortened_file_is_refused(server: Server, case: Case) -> None:
    short = CONTENT[:HALF]
    server.script = [answer(short)]
    with pytest.raises(UserError, match="offers 1,048,576 bytes and 2,097,152 were published"):
        case.run(server.url)
    with pytest.raises(UserError, match=f"SHA-256 is {hashlib.sha256(short).hexdigest()} and {SHA256}"):
        case.run(server.url, size=None)
    assert case.parts == []
    assert not case.target.exists()
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)


def test_a_server_that_answers_a_range_from_the_start_is_not_spliced(server: Server, case: Case) -> None:
    def from_the_start(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Length", str(len(CONTENT)))
        handler.send_header("Content-Range", f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}")
        handler.end_headers()
        handler.wfile.write(CONTENT)

    server.script = [answer(cut=HALF), from_the_start, answer()]
    case.run(server.url, sha256=None)
    assert_whole(case)


def chunked(content: bytes, *, ended: bool) -> Behaviour:
    """A server that sends chunks without saying how many bytes will come, and maybe the end of them."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = "HTTP/1.1"
        handler.send_response(200)
        handler.send_header("ETag", ETAG)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(content), content))
        handler.wfile.write(b"0\r\n\r\n" if ended else b"")
        handler.close_connection = True

    return behave


@pytest.mark.parametrize("size", [len(CONTENT), None])
def test_chunks_that_break_off_are_noticed(server: Server, case: Case, size: int | None) -> None:
    server.script = [chunked(CONTENT[:HALF], ended=False), answer()]
    case.run(server.url, size, sha256=None)
    assert_whole(case)
    server.script = [chunked(CONTENT, ended=True)]
    case.run(server.url, size, sha256=None)
    assert_whole(case)


def test_more_bytes_than_published_do_not_fill_the_disk(
    server: Server, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = []
    monkeypatch.setattr(
        downloading._PartialFile, "_discard", lambda partial: written.append(partial._length())
    )
    server.script = [answer(CONTENT * 8, length=False)]
    with pytest.raises(UserError, match="bytes came and 2,097,152 were published"):
        case.run(server.url)
    assert 0 < max(written) <= len(CONTENT) + downloading.CHUNK


@pytest.mark.parametrize("status", [401, 403, 404, 410])
def test_a_refusal_is_not_repeated(server: Server, case: Case, status: int) -> None:
    server.script = [answer(b"no", status=status)]
    with pytest.raises(UserError, match=f"127.0.0.1 answered {status} ") as caught:
        case.run(server.url)
    assert len(server.requests) == 1
    assert server.url in str(caught.value)


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_busy_server_is_asked_again(server: Server, case: Case, status: int) -> None:
    server.script = [answer(b"later", status=status), answer(b"later", status=status), answer()]
    case.run(server.url)
    assert_whole(case)
    assert case.waits == [1, 2]


def test_a_server_that_stays_busy_is_named(server: Server, case: Case) -> None:
    server.script = [answer(b"later", status=503)]
    with pytest.raises(UserError, match=r"127\.0\.0\.1 answered 503 Service Unavailable"):
        case.run(server.url)
    assert case.waits == [1, 2, 4]


@pytest.mark.parametrize("have", [0, HALF])
def test_a_redirect_to_a_web_page_is_noticed_and_destroys_nothing(
    server: Server, case: Case, have: int
) -> None:
    server.script = [answer(cut=have) if have else hang_up, hang_up]
    with pytest.raises(UserError):
        case.run(server.url)
    before = case.parts
    server.script = [redirect, answer(b"<p>Please log in</p>", kind="text/html", ranges=False)]
    with pytest.raises(UserError, match=r"127\.0\.0\.1 sent a web page instead of the file"):
        case.run(server.url)
    assert case.parts == before
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)


def test_a_redirect_keeps_the_range(server: Server, case: Case) -> None:
    server.script = [redirect, answer(cut=HALF), redirect, answer()]
    case.run(server.url)
    assert_whole(case)
    assert "Range" in server.requests[3]


def test_no_network_is_one_sentence_that_says_what_to_do(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as closed:
        url = closed.url
    with pytest.raises(UserError) as caught:
        case.run(url)
    assert str(caught.value) == (
        "archive.zip could not be downloaded: the connection to 127.0.0.1 failed; fetch it by hand from "
        f"{url} and set source.path in params.yaml to where you put it."
    )
    assert case.waits == [1, 2, 4]
    assert not case.target.exists()


def test_a_proxy_that_is_down_is_named(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server() as closed:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{closed.server_port}")
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(UserError, match=r"the proxy does not let us reach data\.example"):
        case.run("http://data.example/archive.zip")


def test_a_stalled_server_is_given_up(server: Server, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        server.closing.wait(10)
        handler.close_connection = True

    monkeypatch.setattr(downloading, "TIMEOUT", (1, 0.05))
    server.script = [stall]
    with pytest.raises(UserError, match=r"127\.0\.0\.1 does not answer"):
        case.run(server.url)


def test_a_stall_midway_is_continued_from_there(
    server: Server, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stall(handler: BaseHTTPRequestHandler) -> None:
        answer(cut=HALF)(handler)
        server.closing.wait(10)

    monkeypatch.setattr(downloading, "TIMEOUT", (1, 0.5))
    server.script = [stall, answer()]
    case.run(server.url)
    assert_whole(case)
    assert "Range" in server.requests[1]


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """No file of this process may grow beyond `size` bytes; the system sees to that."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@pytest.mark.parametrize("room", [0, 1, HALF, len(CONTENT) - 1])
def test_a_full_disk_is_one_sentence_and_the_next_run_continues(
    server: Server, case: Case, room: int
) -> None:
    server.script = [answer()]
    with room_for(room), pytest.raises(UserError) as caught:
        case.run(server.url)
    assert str(caught.value) == (
        f"There is no space left in {case.partial_folder} for archive.zip; free some and run again."
    )
    assert not case.target.exists()
    assert case.parts in ([], [CONTENT[:room]])
    case.run(server.url)
    assert_whole(case)
    assert server.requests[1].get("Range") == (f"bytes={room}-" if room > len(ETAG) else None)


def test_a_full_disk_of_the_target_is_one_sentence_and_nothing_is_fetched_again(
    server: Server, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    replace = Path.replace

    def cross_device(source: Path, target: Path) -> Path:
        if source.parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", cross_device)
    case.target.parent.mkdir(parents=True)
    case.target.with_name("images.zip.part").symlink_to("/dev/full")
    server.script = [answer()]
    with pytest.raises(UserError, match=r"no space left in .*raw for images\.zip"):
        case.run(server.url)
    assert list(case.target.parent.iterdir()) == []
    case.run(server.url)
    assert_whole(case)
    assert len(server.requests) == 1


def test_a_target_on_another_disk(server: Server, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = Path.replace

    def cross_device(source: Path, target: Path) -> Path:
        if source.parent != Path(target).parent:
            raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
        return replace(source, target)

    monkeypatch.setattr(Path, "replace", cross_device)
    server.script = [answer()]
    case.run(server.url)
    assert_whole(case)


def test_two_at_once_do_not_mix(server: Server, tmp_path: Path) -> None:
    both = [Case(tmp_path / "a"), Case(tmp_path / "b")]
    server.script = [answer(cut=HALF), answer()]
    both[1].partial_folder = both[0].partial_folder
    threads = [threading.Thread(target=one.run, args=(server.url,)) for one in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for one in both:
        assert one.target.read_bytes() == CONTENT


def test_an_interruption_by_the_user_keeps_what_came(
    server: Server, case: Case, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(self: object, chunks: Iterator[bytes], expected: int | None) -> None:
        with self.path.open("ab") as file:  # type: ignore[attr-defined]
            file.write(next(chunks))
            raise KeyboardInterrupt

    server.script = [answer()]
    monkeypatch.setattr(downloading._PartialFile, "_append", interrupt)
    with pytest.raises(KeyboardInterrupt):
        case.run(server.url)
    assert case.parts == [CONTENT[: downloading.CHUNK]]
