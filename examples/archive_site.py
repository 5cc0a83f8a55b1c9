"""Archive a web site into a SQLite database, breadth-first, with a pool of workers.

    python examples/archive_site.py
    python examples/archive_site.py --url https://example.org/ --limit 500 --delay 0.2

With no argument it serves the standard library of the Python that runs it, thousands of real
files, on a free port of this machine, and archives that. Ctrl-C stops it: what was fetched is in
the database, and the summary says what was left.

A database that exists is added to: a page that is fetched again replaces its row, and one that is
given up is noted beside it. A redirect is stored like any page, and where it leads is one more
link. Links are followed within one scheme, host and port. Nothing here reads robots.txt: use it
on sites that are yours.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import math
import re
import shlex
import signal
import sqlite3
import subprocess
import sys
import sysconfig
from collections import deque
from datetime import datetime, timezone
from functools import partial
from html.parser import HTMLParser
from typing import TYPE_CHECKING, NamedTuple, TypeAlias
from urllib.parse import urljoin

import httpx
import trio
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeElapsedColumn
from rich.table import Table

from poolder_trio import HALT, Pool, Queue, Rate, Retry, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from poolder_trio.verdicts import ErrorVerdict

SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, status INTEGER, fetched_at TEXT,
                                  seconds REAL, size INTEGER, sha256 TEXT, body BLOB);
CREATE TABLE IF NOT EXISTS failures (url TEXT, failed_at TEXT, error TEXT);
"""
QUERIES = (
    "SELECT status, count(*), sum(size) FROM pages GROUP BY status",
    "SELECT url, size, sha256, fetched_at, seconds FROM pages ORDER BY size DESC LIMIT 10",
    "SELECT * FROM failures",
)
BATCH = 100  # rows in a transaction


class Page(NamedTuple):
    """What a server answered."""

    url: str
    status: int
    fetched_at: str
    seconds: float
    body: bytes


class Failure(NamedTuple):
    """A page that was given up."""

    url: str
    failed_at: str
    error: str


Row: TypeAlias = "Page | Failure"


class Fetcher(Worker[str, None]):
    """Fetches the page at a URL, with an HTTP client of its own."""

    retry = Retry(
        attempts=4,
        backoff=0.5,
        factor=2.0,
        jitter=0.2,
        on=(httpx.TransportError, httpx.HTTPStatusError),
    )

    async def handle_init(self) -> None:
        """Open the client; it is closed when this worker ends."""
        self.crawl: Crawl = self.pool
        # Whatever proxy the environment names, it is not for this machine.
        direct = {"all://127.0.0.1": None, "all://localhost": None}
        client = httpx.AsyncClient(verify=self.crawl.tls, mounts=direct, timeout=10.0)
        self.client = await self.stack.enter_async_context(client)

    async def handle_job(self, url: str) -> None:
        """Fetch a page, hand it over to be stored, and take up its links."""
        fetched_at, began = now(), trio.current_time()
        response = await self.client.get(url)
        if response.is_server_error:
            response.raise_for_status()
        seconds = trio.current_time() - began
        # In a thread: a page of a thousand links must not hold up the other workers.
        found = await trio.to_thread.run_sync(links, response)
        body = response.content
        await self.crawl.rows.send(Page(url, response.status_code, fetched_at, seconds, body))
        # Nothing is awaited from here on: wherever Ctrl-C cuts this handler, the pages that were
        # handed over are those that the pool counts as completed.
        self.crawl.bytes += len(body)
        self.crawl.find(found)

    async def handle_error(self, url: str, attempt: int, error: Exception) -> ErrorVerdict | None:
        """Count retries, and note what is given up. Any other error is a bug, and crashes."""
        if not isinstance(error, httpx.HTTPError):
            return None
        if isinstance(error, self.retry.on) and attempt < self.retry.attempts:
            self.crawl.retries += 1
            return None
        await self.crawl.rows.send(Failure(url, now(), repr(error)))
        self.crawl.places += 1  # the limit counts pages, and this is none
        self.crawl.find(())
        return HALT


class Crawl(Pool[str, None]):
    """The pool, and what its workers share."""

    worker = Fetcher
    # One queue for all, first in, first out, makes the crawl breadth-first. It has no bound, for
    # those who fill it are those who empty it: waiting for space, they would wait for themselves.
    mode = "available"
    queue = Queue(max=math.inf)

    def __init__(self, url: str, rows: trio.MemorySendChannel[Row], options: Options) -> None:
        rate = Rate(1, per=options.delay) if options.delay > 0 else None
        super().__init__(pool_size=options.workers, rate=rate)
        self.url = url
        self.rows = rows
        self.limit = self.places = options.limit
        self.known: set[str] = set()
        self.beyond: deque[str] = deque()  # known, but without a place
        self.bytes = self.retries = 0
        self.tls = httpx.create_ssl_context()  # one for all, as it reads every root certificate

    async def handle_init(self) -> None:
        """Send the first job."""
        self.find([self.url])

    def find(self, urls: Iterable[str]) -> None:
        """Queue the URLs that are new, in order, as long as there are places."""
        for url in urls:
            if url not in self.known:
                self.known.add(url)
                self.beyond.append(url)
        while self.beyond and self.places:
            self.places -= 1
            self.cast_nowait(self.beyond.popleft())


def now() -> str:
    """Return the time, for the database."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


class Anchors(HTMLParser):
    """Collects what a page refers to, and what that is relative to."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take every href and src."""
        found = [value for name, value in attrs if value and name in ("href", "src")]
        if tag != "base":
            self.found += found
        elif found and not self.base:
            self.base = found[0]


def links(response: httpx.Response) -> list[str]:
    """Return the URLs on the same site to which a response leads, normalised, in order."""
    page = Anchors()
    if response.has_redirect_location:
        page.found = [response.headers["location"]]
    elif response.headers.get("content-type", "").lower().startswith("text/html"):
        try:
            text = response.content.decode(response.charset_encoding or "utf-8", "replace")
        except (LookupError, ValueError):  # no such encoding, or none of text
            text = response.content.decode("latin-1")
        with contextlib.suppress(AssertionError):  # how html.parser refuses "<![nonsense["
            page.feed(text)
            page.close()
    base = normalised(str(response.url), page.base) or response.url
    urls = [normalised(str(base), link) for link in page.found]
    return [str(url) for url in urls if url is not None and site(url) == site(response.url)]


def normalised(base: str, link: str) -> httpx.URL | None:
    """Return the one spelling of what a link leads to, or None if that is nowhere."""
    try:
        url = httpx.URL(urljoin(base, link.strip()))
        return url.copy_with(raw_path=url.raw_path, fragment=None)  # with / for an empty path
    except (httpx.InvalidURL, ValueError):
        return None


def site(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return what links that are followed have in common."""
    return url.scheme, url.host, url.port


async def store(database: sqlite3.Connection, inbox: trio.MemoryReceiveChannel[Row]) -> None:
    """Write what comes until the channel is closed, many rows to a transaction, in a thread."""
    # Shielded, and yet it ends: whatever ends the crawl closes the channel. What was fetched is
    # then stored, also when an error or a second Ctrl-C cancels everything else.
    with trio.CancelScope(shield=True):
        while batch := await next_batch(inbox):
            await trio.to_thread.run_sync(insert, database, batch)


async def next_batch(inbox: trio.MemoryReceiveChannel[Row]) -> list[Row]:
    """Wait for a row, then at most a second for more. None at all: the channel is closed."""
    batch: list[Row] = []
    with trio.CancelScope() as patience:
        async for row in inbox:
            batch.append(row)
            if len(batch) == 1:
                patience.deadline = trio.current_time() + 1.0
            if len(batch) == BATCH:
                break
    return batch


def insert(database: sqlite3.Connection, batch: list[Row]) -> None:
    """Write rows in one transaction."""
    failures = [row for row in batch if isinstance(row, Failure)]
    pages = [
        (*row[:4], len(row.body), hashlib.sha256(row.body).hexdigest(), row.body)
        for row in batch
        if isinstance(row, Page)
    ]
    with database:
        database.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)", pages)
        database.executemany("INSERT INTO failures VALUES (?, ?, ?)", failures)


async def serve_library(*, task_status: trio.TaskStatus[str]) -> None:
    """Serve the standard library on loopback, by a process that ends with this task."""
    # HTTP/1.0, its default, is the faster here: on a connection that is kept, the server's body
    # would wait 40 ms for its headers to be acknowledged.
    command = [sys.executable, "-I", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    run = partial(
        trio.run_process,
        [*command, "--directory", sysconfig.get_path("stdlib")],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # keeps the terminal's Ctrl-C from the server
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        said = b""
        while process.stdout and (chunk := await process.stdout.receive_some()):
            said += chunk
            if port := re.search(rb"port (\d+) ", said):
                task_status.started(f"http://127.0.0.1:{int(port[1])}/")
                break


async def show(crawl: Crawl, progress: Progress) -> None:
    """Keep the progress bar up to date."""
    task = progress.add_task("")
    try:
        while True:
            counts = crawl.statistics()
            total = min(crawl.limit, len(crawl.known) - counts.failed)
            progress.update(task, completed=counts.completed, total=total)
            await trio.sleep(0.1)
    finally:
        progress.update(task, completed=crawl.report.completed)


async def stop_on_signal(signals: AsyncIterator[int], crawl: Crawl) -> None:
    """Cut the crawl at the first Ctrl-C, and everything at the second."""
    await anext(signals)
    crawl.cancel()
    await anext(signals)
    raise KeyboardInterrupt


async def archive(options: Options, database: sqlite3.Connection, console: Console) -> None:
    """Crawl a site, and print what came of it when all is stored."""
    rows, inbox = trio.open_memory_channel[Row](BATCH)
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    began = trio.current_time()
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        Progress(*columns, console=console) as progress,
    ):
        async with trio.open_nursery() as nursery:
            url = options.url or await nursery.start(serve_library)
            nursery.start_soon(store, database, inbox)
            async with rows, Crawl(url, rows, options) as crawl:
                nursery.start_soon(show, crawl, progress)
                nursery.start_soon(stop_on_signal, signals, crawl)
            nursery.cancel_scope.cancel()
    report, pages = crawl.report, crawl.report.completed
    left = len(report.abandoned) + report.cancelled + len(crawl.beyond)
    in_all = database.execute("SELECT count(*) FROM pages").fetchone()[0]
    table = Table("", url, title="stopped" if report.cancelled else "done")
    table.add_row("pages", f"{pages:,}")
    table.add_row("bytes", f"{crawl.bytes:,}")
    table.add_row("retries", f"{crawl.retries:,}")
    table.add_row("failures", f"{report.failed:,}")
    table.add_row("pages/s", f"{pages / (trio.current_time() - began):,.1f}")
    table.add_row("left", f"{left:,} known, not fetched")
    table.add_row("database", f"{in_all:,} pages, with those of earlier runs")
    console.print(table)


class Options(argparse.Namespace):
    """What the command line says."""

    url: str | None
    limit: int
    workers: int
    db: str
    delay: float


def positive(text: str) -> int:
    """Return the number that an option gives."""
    if (number := int(text)) < 1:
        raise ValueError
    return number


def start(text: str) -> str:
    """Return the URL that an option gives."""
    url = normalised(text, "")
    if url is None or url.scheme not in ("http", "https") or not url.host:
        raise argparse.ArgumentTypeError(f"expected http://... or https://..., got {text!r}")
    return str(url)


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Archive a web site into a SQLite database.")
    add = parser.add_argument
    add("--url", type=start, help="where to start (default: serves Python's standard library)")
    add("--limit", type=positive, default=2000, help="pages to store (default: 2000)")
    add("--workers", type=positive, default=10, help="pages to fetch at once (default: 10)")
    add("--db", default="archive.db", help="the database (default: archive.db in this folder)")
    add("--delay", type=float, default=0.0, help="seconds between the starts of requests, overall")
    options = parser.parse_args(namespace=Options())
    with contextlib.closing(sqlite3.connect(options.db, check_same_thread=False)) as database:
        database.executescript(SCHEMA)
        trio.run(archive, options, database, Console())
    for query in QUERIES:
        print(f'sqlite3 {shlex.quote(options.db)} "{query}"')


if __name__ == "__main__":
    main()
