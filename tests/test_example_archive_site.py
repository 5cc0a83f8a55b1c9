"""The example that archives a site, against servers of its own on loopback."""

import hashlib
import importlib.util
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trio

from poolder_trio import Retry

EXAMPLE = Path(__file__).parents[1] / "examples" / "archive_site.py"

pytestmark = [pytest.mark.server, pytest.mark.usefixtures("own_sigint")]


class Answer(NamedTuple):
    body: bytes = b""
    status: int = 200
    kind: str = "text/html; charset=utf-8"
    location: str = ""


class Handler(BaseHTTPRequestHandler):
    server: "Site"

    def do_GET(self) -> None:
        site, path = self.server, self.path
        with site.changed:
            site.asked.append(path)
            site.times.append(time.monotonic())
            site.changed.notify_all()
        if path in site.hanging:
            site.released.wait(30)
        answers = site.pages.get(path, Answer(b"no such page", 404, "text/plain"))
        if isinstance(answers, list):
            answers = answers.pop(0) if len(answers) > 1 else answers[0]
        with suppress(ConnectionError):
            self.send_response(answers.status)
            self.send_header("Content-Type", answers.kind)
            self.send_header("Content-Length", str(len(answers.body)))
            if answers.location:
                self.send_header("Location", answers.location)
            self.end_headers()
            self.wfile.write(answers.body)

    def log_message(self, *args: object) -> None:
        pass


class Site(ThreadingHTTPServer):
    """A site of known pages that remembers what it was asked for. A list answers in turn."""

    request_queue_size = 50

    def __init__(self, pages: dict[str, Any]) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages = pages
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.asked: list[str] = []
        self.times: list[float] = []
        self.changed = threading.Condition()
        self.hanging: set[str] = set()
        self.released = threading.Event()

    def wait_asked(self, paths: set[str]) -> None:
        with self.changed:
            assert self.changed.wait_for(lambda: paths <= set(self.asked), timeout=20)


@contextmanager
def serving(pages: dict[str, Any]) -> Iterator[Site]:
    with Site(pages) as site:
        thread = threading.Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            site.released.set()
            site.shutdown()
            thread.join()


def page(*links: str) -> Answer:
    return Answer("".join(f"<a href='{link}'>on</a>" for link in links).encode())


@pytest.fixture
def example(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLE.parent)  # as Python does for the command
    spec = importlib.util.spec_from_file_location("archive_site", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    old = module.Fetcher.retry
    quick = Retry(attempts=old.attempts, backoff=0.01, factor=old.factor, on=old.on)
    monkeypatch.setattr(module.Fetcher, "retry", quick)
    return module


@pytest.fixture
def archive(example, tmp_path, capsys, monkeypatch):
    """Archives a site into ``tmp_path/site.db`` and returns the summary."""

    async def run(url: str = "", *, limit=1000, workers=5, delay=0.0) -> dict[str, str]:
        start = ["--url", url] if url else ["--resume"]
        numbers = ["--limit", str(limit), "--workers", str(workers), "--delay", str(delay)]
        command = ["archive_site.py", "--db", str(tmp_path / "site.db"), *start, *numbers]
        monkeypatch.setattr(sys, "argv", command)
        with trio.fail_after(20):
            await trio.to_thread.run_sync(example.main, abandon_on_cancel=True)
        return summary(capsys.readouterr().out)

    return run


def summary(printed: str) -> dict[str, str]:
    """The table: what is on the left by what is on the right."""
    rows = re.findall(r"^[┃│] (.*?) +[┃│] (.*?) +[┃│]$", printed, re.MULTILINE)
    assert rows, printed
    return dict(rows)


def select(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as database:
        return database.execute(query).fetchall()


def stored(tmp_path: Path, columns: str = "url") -> list[Any]:
    rows = select(tmp_path / "site.db", f"SELECT {columns} FROM pages ORDER BY url")  # noqa: S608
    return [row[0] if len(row) == 1 else row for row in rows]


async def test_what_the_site_has_is_stored_and_nothing_else(archive, tmp_path):
    elsewhere = {"/": page("/no"), "/no": page()}
    pages: dict[str, Any] = {
        "/plain.txt": Answer(b"<a href='/unlinked'>not a page of links</a>", kind="text/plain"),
        "/data.bin": Answer(bytes(range(256)) * 40, kind="application/octet-stream"),
        "/latin": Answer(
            "<a href='/gr\xfcn'>".encode("latin-1"), kind="text/html; charset=latin-1"
        ),
        "/gr%C3%BCn": Answer(b"green"),
        "/what": Answer(b"<a href=/odd>\xff\xfe", kind="text/html; charset=hex"),
        "/odd": Answer(b"<![nonsense[ <a href=/unlinked>"),
        "/broken.html": Answer(b"<p><a href='inner/x?q=1&amp;r=2#top'><b></p></i><a href"),
        "/inner/x?q=1&r=2": page(".", "../plain.txt", "./y/../z"),
        "/inner/": page("/"),
        "/inner/z": Answer(b"<base href='/deep/down/'><img src='up.png'><a href='.'>"),
        "/deep/down/up.png": Answer(b"\x89PNG", kind="image/png"),
        "/deep/down/": page(),
        "/moved": Answer(status=302, location="/target"),
        "/target": Answer(b"here"),
        "/unlinked": Answer(b"nobody leads here"),
    }
    with serving(elsewhere) as other, serving(pages) as site:
        pages["/away"] = Answer(status=301, location=f"{other.url}/")
        pages["/"] = page(
            "plain.txt",
            "/plain.txt#part",
            f"{site.url}/plain.txt",
            f"HTTP://127.0.0.1:{site.server_port}",
            "#top",
            "",
            " data.bin ",
            "latin",
            "what",
            "broken.html",
            "moved",
            "away",
            "missing",
            f"{other.url}/",
            f"//127.0.0.1:{other.server_port}/no",
            f"https://127.0.0.1:{site.server_port}/plain.txt",
            "mailto:someone@example.org",
            "javascript:void(0)",
            "data:text/plain,x",
            "tel:+1",
            "http://[half/",
            "http://127.0.0.1:port/",
            "\x00",
        )
        found = await archive(f"{site.url}/#start")
        want = {"/", "/away", "/missing", *pages} - {"/unlinked"}
        bodies = {path: pages.get(path, Answer(b"no such page", 404)) for path in want}
        columns = "url, status, size, sha256, body"
        assert stored(tmp_path, columns) == sorted(
            (
                site.url + path,
                answer.status,
                len(answer.body),
                hashlib.sha256(answer.body).hexdigest(),
                answer.body,
            )
            for path, answer in bodies.items()
        )
        assert sorted(site.asked) == sorted(want)
        assert other.asked == []
    assert found["pages"] == str(len(want))
    assert int(found["bytes"].replace(",", "")) == sum(len(a.body) for a in bodies.values())
    assert found["retries"] == found["failures"] == found["left: known, not fetched"] == "0"


async def test_when_and_how_fast_a_page_was_fetched_is_stored(archive, tmp_path):
    with serving({"/": page()}) as site:
        before = time.time()
        await archive(site.url)
        [(fetched_at, seconds)] = stored(tmp_path, "fetched_at, seconds")
    assert before <= fetched_at <= time.time()
    assert 0 < seconds < 20


async def test_a_page_that_fails_at_first_is_retried_and_stored(archive, tmp_path):
    busy = Answer(b"busy", 503)
    with serving({"/": page("flaky"), "/flaky": [busy, busy, Answer(b"there")]}) as site:
        found = await archive(site.url)
        assert site.asked == ["/", "/flaky", "/flaky", "/flaky"]
    assert stored(tmp_path, "status, body")[1] == (200, b"there")
    assert (found["pages"], found["retries"], found["failures"]) == ("2", "2", "0")


async def test_a_page_that_always_fails_is_given_up_and_noted(archive, tmp_path):
    pages = {"/": page("bad", "good"), "/bad": Answer(b"oh", 500), "/good": page()}
    with serving(pages) as site:
        found = await archive(site.url)
        assert site.asked.count("/bad") == 4
        assert stored(tmp_path) == [f"{site.url}/", f"{site.url}/good"]
        [(url, error)] = select(tmp_path / "site.db", "SELECT url, error FROM failures")
        assert url == f"{site.url}/bad"
    assert "500" in error
    assert (found["pages"], found["retries"], found["failures"]) == ("2", "3", "1")


async def test_a_server_that_is_not_there_is_a_failure_after_retries(archive, tmp_path):
    with closing(socket.create_server(("127.0.0.1", 0))) as taken:
        port = taken.getsockname()[1]
    found = await archive(f"http://127.0.0.1:{port}/")
    assert (found["pages"], found["retries"], found["failures"]) == ("0", "3", "1")
    assert stored(tmp_path) == []


async def test_an_address_that_cannot_be_read_ends_it_at_once(archive, capsys):
    with pytest.raises(SystemExit) as ended:
        await archive("http://127.0.0.1:port/")
    assert ended.value.code == 2
    [line] = capsys.readouterr().err.splitlines()
    assert "port" in line


TREE = {
    "/": page("1", "2"),
    "/1": page("11", "12"),
    "/2": page("21", "1", "/"),
    "/11": page("111"),
    "/12": page("2", "112"),
    "/21": page(),
    "/111": page(),
    "/112": page(),
}


async def test_one_worker_asks_breadth_first(archive):
    with serving(TREE) as site:
        await archive(site.url, workers=1)
        assert site.asked == ["/", "/1", "/2", "/11", "/12", "/21", "/111", "/112"]


@pytest.mark.parametrize("limit", [1, 5, 30])
async def test_the_limit_counts_pages_exactly(archive, tmp_path, limit):
    pages: dict[str, Any] = {f"/{n}": page(f"/{n + 1}") for n in range(60)}
    pages["/"] = page("bad", "worse", *(str(n) for n in range(0, 60, 2)))
    pages["/bad"] = pages["/worse"] = Answer(status=500)
    with serving(pages) as site:
        found = await archive(site.url, limit=limit)
        assert len(stored(tmp_path)) == limit
        assert len(set(site.asked) - {"/bad", "/worse"}) == limit
    assert found["pages"] == str(limit)
    assert int(found["left: known, not fetched"]) > 0


async def test_the_delay_spaces_the_requests_of_all_workers(archive):
    with serving(TREE) as site:
        await archive(site.url, workers=5, delay=0.05)
        assert site.times[-1] - site.times[0] >= 0.05 * (len(TREE) - 1) - 0.03


async def test_rows_are_written_many_to_a_transaction(archive, example, monkeypatch):
    sizes: list[int] = []
    write = example.Rows.write

    def count(rows, batch):
        sizes.append(len(batch))
        write(rows, batch)

    monkeypatch.setattr(example.Rows, "write", count)
    pages = {"/": page(*(str(n) for n in range(249)))}
    with serving(pages) as site:
        await archive(site.url)
    assert sum(sizes) == 250
    assert max(sizes) <= 100
    assert len(sizes) < 50


async def test_a_second_run_replaces_what_it_fetches_and_keeps_the_rest(archive, tmp_path):
    pages = {"/": page("old", "new"), "/old": Answer(b"old"), "/new": Answer(b"old")}
    with serving(pages) as site:
        await archive(site.url)
        pages.update({"/old": Answer(b"broken", 500), "/new": Answer(b"new")})
        found = await archive(site.url)
    assert stored(tmp_path, "body")[1:] == [b"new", b"old"]
    assert (found["pages"], found["failures"]) == ("2", "1")
    assert found["in the database, with older pages"] == "3"


async def test_what_was_fetched_before_a_bug_is_stored(archive, example, tmp_path, monkeypatch):
    examine = example.examine

    def faulty(response):
        if response.url.path == "/21":
            raise ZeroDivisionError
        return examine(response)

    monkeypatch.setattr(example, "examine", faulty)
    busy = Answer(status=503)
    with serving({**TREE, "/21": [busy, busy, busy, page()]}) as site:
        with pytest.RaisesGroup(ZeroDivisionError, flatten_subgroups=True):
            await archive(site.url, workers=1)
        assert stored(tmp_path) == sorted(site.url + path for path in TREE if path != "/21")


# -- going on


async def test_a_resumed_archive_goes_on_in_the_order_found(archive, tmp_path):
    with serving(TREE) as site:
        first = await archive(site.url, workers=1, limit=3)
        assert first["left: known, not fetched"] == "3"
        second = await archive(workers=1, limit=2)
        assert second["pages"] == "2"
        third = await archive(workers=1)
        assert site.asked == ["/", "/1", "/2", "/11", "/12", "/21", "/111", "/112"]
    assert third["done"] == f"{site.url}/"
    assert (third["pages"], third["left: known, not fetched"]) == ("3", "0")
    assert stored(tmp_path) == sorted(site.url + path for path in TREE)


async def test_resuming_a_finished_archive_fetches_nothing(archive):
    with serving(TREE) as site:
        await archive(site.url)
        found = await archive()
        assert len(site.asked) == len(TREE)
    assert (found["pages"], found["left: known, not fetched"]) == ("0", "0")
    assert found["in the database, with older pages"] == str(len(TREE))


async def test_what_was_given_up_is_tried_again_when_resumed(archive, tmp_path):
    pages = {"/": page("bad", "good"), "/bad": Answer(b"oh", 500), "/good": page()}
    with serving(pages) as site:
        await archive(site.url)
        pages["/bad"] = page("deep")
        pages["/deep"] = page()
        found = await archive()
        assert site.asked.count("/") == site.asked.count("/good") == 1
    assert (found["pages"], found["failures"]) == ("2", "0")
    assert stored(tmp_path) == sorted(site.url + path for path in pages)
    assert select(tmp_path / "site.db", "SELECT * FROM failures") == []


async def test_what_is_given_up_again_and_again_is_noted_once(archive, tmp_path):
    with serving({"/": page("bad"), "/bad": Answer(b"oh", 500)}) as site:
        await archive(site.url)
        await archive()
        await archive()
        noted = select(tmp_path / "site.db", "SELECT url FROM failures")
        assert noted == [(f"{site.url}/bad",)]


async def test_a_run_that_cannot_begin_leaves_what_can_be_resumed(archive, capsys):
    with serving(TREE) as site:
        await archive(site.url, workers=1, limit=3)
        with pytest.raises(SystemExit):
            await archive("http://127.0.0.1:port/")
        found = await archive()
        assert sorted(site.asked) == sorted(TREE)
    assert found["left: known, not fetched"] == "0"


async def test_a_run_from_the_start_is_what_is_resumed_then(archive, tmp_path):
    with serving(TREE) as site, serving({"/": page("a"), "/a": page()}) as other:
        await archive(other.url)
        await archive(site.url, workers=1, limit=2)
        await archive(workers=1)
        assert other.asked == ["/", "/a"]
        assert sorted(site.asked) == sorted(TREE)


def test_a_page_and_what_it_leads_to_are_stored_together_or_not_at_all(example):
    with closing(sqlite3.connect(":memory:")) as database:
        database.execute("CREATE TABLE links (url TEXT PRIMARY KEY)")
        rows = example.Rows(database)
        row = [(example.LINK, ("http://x/",)), (example.PAGE, ("too", "few"))]
        with pytest.raises(sqlite3.Error):
            rows.write([[(example.LINK, ("http://y/",))], row])
        assert database.execute("SELECT * FROM links").fetchall() == []


# -- the command, in a process of its own


@contextmanager
def command(tmp_path: Path, *options: str) -> Iterator["subprocess.Popen[str]"]:
    """The example at work in ``tmp_path``, in a group that can be sent a terminal's Ctrl-C."""
    with subprocess.Popen(
        [sys.executable, "-W", "error", EXAMPLE, *options],
        cwd=tmp_path,
        env={**os.environ, "PYTHONUTF8": "1", "COLUMNS": "100"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        encoding="utf-8",
        start_new_session=True,
    ) as process:
        try:
            yield process
        finally:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(timeout=5)
            process.kill()


def ended(process: "subprocess.Popen[str]", code: int = 0) -> str:
    """What it printed, when it has ended as it should."""
    printed, _ = process.communicate(timeout=30)
    assert process.returncode == code, printed
    # On a machine that is busy, the bar may be late.
    printed = re.sub(r"(?m)^component=Progress job=draw missed=.*\n", "", printed)
    assert len(printed.splitlines()) < 30, "the progress bar floods what is no terminal"
    return printed


def nobody_listens(url: str) -> bool:
    port = int(url.rstrip("/").rpartition(":")[2])
    with suppress(ConnectionRefusedError), closing(socket.create_connection(("127.0.0.1", port))):
        return False
    return True


@pytest.mark.slow
def test_with_no_address_it_archives_the_standard_library(tmp_path):
    with command(tmp_path, "--limit", "150") as process:
        printed = ended(process)
    found = summary(printed)
    assert nobody_listens(found["done"])
    database = tmp_path / "archive.db"
    rows = select(database, "SELECT url, status, size, sha256, body FROM pages")
    assert len(rows) == 150
    assert found["pages"] == "150"
    assert int(found["bytes"].replace(",", "")) == sum(row[2] for row in rows)
    assert found["failures"] == "0"
    for url, status, size, sha256, body in rows:
        assert url.startswith(found["done"])
        assert (status, size, sha256) == (200, len(body), hashlib.sha256(body).hexdigest())
    names = {row[0].removeprefix(found["done"]): row[4] for row in rows}
    assert names["abc.py"] == Path(sys.modules["abc"].__file__ or "").read_bytes()
    queries = re.findall(r'^ *sqlite3 archive.db "(.*)"$', printed, re.MULTILINE)
    assert [bool(select(database, query)) for query in queries] == [True, True, False]


CTRL_C = pytest.mark.skipif(sys.platform == "win32", reason="sends signals as POSIX does")


@CTRL_C
@pytest.mark.slow
def test_ctrl_c_cuts_what_runs_stores_what_came_and_says_what_is_left(tmp_path):
    pages = {"/": page("1", "2", "hang", *(str(n) for n in range(3, 40))), "/1": page("x", "y")}
    with serving(pages) as site:
        site.hanging = {"/hang", *(f"/{n}" for n in range(5, 40))}
        with command(tmp_path, "--url", site.url, "--workers", "3", "--db", "site.db") as process:
            site.wait_asked({"/hang", "/5", "/6"})
            os.killpg(process.pid, signal.SIGINT)
            found = summary(ended(process))
        assert stored(tmp_path) == [site.url + path for path in ("/", "/1", "/2", "/3", "/4")]
    assert found["stopped"] == f"{site.url}/"
    assert found["pages"] == "5"
    assert found["failures"] == "0"
    # Known are 43: the first page, its 40, and the two of /1.
    assert found["left: known, not fetched"] == "38"


@CTRL_C
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=["SIGINT", "SIGTERM"])
def test_a_signal_also_ends_the_server_that_the_example_started(tmp_path, number):
    with command(tmp_path, "--delay", "0.02") as process:
        deadline = time.monotonic() + 20
        while not pages_in(tmp_path / "archive.db"):
            assert time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(process.pid, number)
        found = summary(ended(process))
    assert nobody_listens(found["stopped"])
    assert int(found["pages"]) == pages_in(tmp_path / "archive.db") > 0
    assert found["retries"] == found["failures"] == "0"
    assert int(found["left: known, not fetched"].replace(",", "")) > 0


@CTRL_C
@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["SIGINT", "SIGKILL"])
def test_whatever_ends_it_the_rest_is_fetched_when_resumed(tmp_path, number):
    pages = {
        f"/{n}": page(*(str(2 * n + k) for k in (1, 2) if 2 * n + k < 400)) for n in range(400)
    }
    pages["/"] = page("0")
    database = tmp_path / "archive.db"
    with serving(pages) as site:
        with command(tmp_path, "--url", site.url, "--delay", "0.004") as process:
            wait_for_pages(database, 100)
            os.killpg(process.pid, number)
            process.wait(timeout=20)
        kept = {url.removeprefix(site.url) for (url,) in select(database, "SELECT url FROM pages")}
        before = len(kept)
        assert 100 <= before < len(pages)
        check(database)
        already = len(site.asked)
        with command(tmp_path, "--resume") as process:
            found = summary(ended(process))
        # No page that was stored is asked for again. (Others may come in late, of who was killed.)
        assert not kept & set(site.asked[already:])
        rows = select(database, "SELECT url, body FROM pages")
        assert sorted(rows) == sorted((site.url + path, pages[path].body) for path in pages)
    assert found["pages"] == str(len(pages) - before)
    assert found["left: known, not fetched"] == "0"
    check(database)


@CTRL_C
@pytest.mark.slow
def test_the_standard_library_is_resumed_under_the_same_address(tmp_path):
    database = tmp_path / "archive.db"
    with command(tmp_path, "--limit", "5000") as process:
        wait_for_pages(database, 100)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(timeout=20)
    before = pages_in(database)
    [(url,)] = select(database, "SELECT url FROM site")
    # Its server ends by itself, since nobody is left who could end it.
    deadline = time.monotonic() + 10
    while not nobody_listens(url):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with command(tmp_path, "--resume", "--limit", "50") as process:
        found = summary(ended(process))
    assert (found["done"], found["pages"]) == (url, "50")
    assert nobody_listens(url)
    rows = select(database, "SELECT url, status FROM pages")
    assert len(rows) == before + 50
    assert all(row[0].startswith(url) and row[1] == 200 for row in rows)

    port = int(url.rstrip("/").rpartition(":")[2])
    with closing(socket.create_server(("127.0.0.1", port))):
        with command(tmp_path, "--resume") as process:
            [line] = ended(process, code=2).splitlines()
    assert f"port {port}" in line


def test_what_is_no_archive_is_not_resumed(tmp_path):
    (tmp_path / "text.db").write_text("This is no database at all." * 100)
    with closing(sqlite3.connect(tmp_path / "other.db")) as database:
        database.execute("CREATE TABLE pages (url)")
    for name in ("missing.db", "text.db", "other.db"):
        with command(tmp_path, "--resume", "--db", name) as process:
            [line] = ended(process, code=2).splitlines()
        assert line.startswith(f"{name}: cannot go on: ")
    assert not (tmp_path / "missing.db").exists()


@CTRL_C
@pytest.mark.slow
def test_a_second_ctrl_c_ends_it_and_what_was_fetched_is_stored(tmp_path):
    pages = {"/": page("hang", "1", "2"), "/1": page(), "/2": page()}
    with serving(pages) as site:
        site.hanging = {"/hang"}
        with command(tmp_path, "--url", site.url, "--db", "site.db") as process:
            site.wait_asked({"/hang", "/1", "/2"})
            time.sleep(0.2)
            os.killpg(process.pid, signal.SIGINT)
            os.killpg(process.pid, signal.SIGINT)
            process.wait(timeout=10)
        assert stored(tmp_path) == [site.url + path for path in ("/", "/1", "/2")]


def wait_for_pages(database: Path, number: int) -> None:
    deadline = time.monotonic() + 20
    while pages_in(database) < number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def check(database: Path) -> None:
    """What is stored is noted as stored, and what a page leads to is known."""
    marked = select(database, "SELECT url FROM links WHERE stored ORDER BY url")
    assert marked == select(database, "SELECT url FROM pages ORDER BY url")
    known = {url for (url,) in select(database, "SELECT url FROM links")}
    for url, body in select(database, "SELECT url, body FROM pages"):
        base = url.rpartition("/")[0]
        assert {f"{base}/{link}" for link in re.findall("href='(.*?)'", body.decode())} <= known


def pages_in(database: Path) -> int:
    if not database.exists():
        return 0
    with suppress(sqlite3.OperationalError):  # it has no tables yet
        [(number,)] = select(database, "SELECT count(*) FROM pages")
        return number
    return 0
