"""Archive a web site into a SQLite database, breadth-first, with a pool of workers.

    python examples/archive_site.py
    python examples/archive_site.py --url https://example.org/ --limit 500 --delay 0.2

With no argument it serves the standard library of the Python that runs it, thousands of real
files, on a free port of this machine, and archives that. Ctrl-C stops it: what was fetched is in
the database, and the summary says what was left.

A database that exists is added to. A page that is fetched again replaces its row; a page that is
given up leaves the row of an earlier run alone, and is noted in the table of failures. A redirect
is stored like any page, and where it leads is one more link. Only links to the same scheme, host
and port are followed. Nothing here reads robots.txt: use it on sites that are yours.
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
from rich.text import Text

from poolder_trio import HALT, Pool, Queue, Rate, Retry, Worker

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from poolder_trio.verdicts import ErrorVerdict

BATCH = 100
SCHEMA = """
CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, status INTEGER, size INTEGER, sha256 TEXT,
                                  body BLOB, fetched_at TEXT, seconds REAL);
CREATE TABLE IF NOT EXISTS failures (url TEXT, failed_at TEXT, error TEXT);
"""
QUERIES = (
    "SELECT status, count(*), sum(size) FROM pages GROUP BY status",
    "SELECT url, size, seconds, fetched_at FROM pages ORDER BY size DESC LIMIT 10",
    "SELECT url, error FROM failures",
)


class Page(NamedTuple):
    """What a server answered."""

    url: str
    status: int
    body: bytes
    fetched_at: str
    seconds: float


class Failure(NamedTuple):
    """A page that was given up."""

    url: str
    failed_at: str
    error: str


Row: TypeAlias = "Page | Failure"


# -- fetching: the pool and its workers


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
        page = Page(url, response.status_code, response.content, fetched_at, seconds)
        await self.crawl.rows.send(page)
        # No await from here on. A page that was handed over is then one that the pool counts as
        # completed, wherever Ctrl-C cuts this.
        self.crawl.bytes += len(page.body)
        self.crawl.find(found)

    async def handle_error(self, url: str, attempt: int, error: Exception) -> ErrorVerdict | None:
        """Count the retries, and note what is given up. Other errors are bugs and leave the pool."""
        if not isinstance(error, httpx.HTTPError):
            return None
        if isinstance(error, self.retry.on) and attempt < self.retry.attempts:
            self.crawl.retries += 1
            return None
        await self.crawl.rows.send(Failure(url, now(), repr(error)))
        self.crawl.places += 1  # --limit counts pages, and this is none
        self.crawl.find(())
        return HALT


class Crawl(Pool[str, None]):
    """The pool, and what its workers share."""

    worker = Fetcher
    # One queue for all, first in, first out, is what makes the crawl breadth-first. Its bound is
    # --limit, below: those who fill it are those who empty it, and could not wait for space.
    mode = "available"
    queue = Queue(max=math.inf)

    def __init__(
        self, start: str, rows: trio.MemorySendChannel[Row], limit: int, workers: int, delay: float
    ) -> None:
        super().__init__(pool_size=workers, rate=Rate(1, per=delay) if delay else None)
        self.start = start
        self.rows = rows
        self.limit = limit
        self.places = limit
        self.known: set[str] = set()
        self.beyond: deque[str] = deque()  # known, and without a place
        self.bytes = 0
        self.retries = 0
        self.tls = httpx.create_ssl_context()  # one for all: it reads every root certificate

    async def handle_init(self) -> None:
        """Send the first job."""
        self.find([self.start])

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
    """Return the time for the database."""
    return datetime.now(timezone.utc).isoformat(timespec="milliseconds")


# -- links


class Anchors(HTMLParser):
    """Collects what a page refers to."""

    def __init__(self) -> None:
        super().__init__()
        self.base = ""
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take every href and src; the first base is what they are relative to."""
        for name, value in attrs:
            if value and name in ("href", "src"):
                if tag == "base":
                    self.base = self.base or value
                else:
                    self.found.append(value)


def links(response: httpx.Response) -> list[str]:
    """Return the URLs on the same site that a response leads to, normalised, in order."""
    page = Anchors()
    if response.has_redirect_location:
        page.found = [response.headers["location"]]
    elif response.headers.get("content-type", "").lower().startswith("text/html"):
        try:
            text = response.content.decode(response.charset_encoding or "utf-8", "replace")
        except (LookupError, ValueError):  # no such encoding, or not one of text
            text = response.content.decode("latin-1")
        with contextlib.suppress(AssertionError):  # how html.parser refuses "<![nonsense["
            page.feed(text)
            page.close()
    base = normalised(str(response.url), page.base) or response.url
    urls = [normalised(str(base), link) for link in page.found]
    return [str(url) for url in urls if url is not None and site(url) == site(response.url)]


def normalised(base: str, link: str) -> httpx.URL | None:
    """Return what a link means on a page, in the one spelling of it, or None if that is nothing."""
    try:
        url = httpx.URL(urljoin(base, link.strip()))
        return url.copy_with(raw_path=url.raw_path, fragment=None)  # with / for an empty path
    except (httpx.InvalidURL, ValueError):
        return None


def site(url: httpx.URL) -> tuple[str, str, int | None]:
    """Return what has to be the same for a link to be followed."""
    return url.scheme, url.host, url.port


# -- storing


async def store(database: sqlite3.Connection, inbox: trio.MemoryReceiveChannel[Row]) -> None:
    """Write what comes until the channel is closed, many rows to a transaction, in a thread."""
    # Shielded, and yet it ends: whatever ends the crawl closes the channel. What was fetched is
    # then stored, also when an error or a second Ctrl-C cancels everything else.
    with trio.CancelScope(shield=True):
        while batch := await next_batch(inbox):
            await trio.to_thread.run_sync(insert, database, batch)


async def next_batch(inbox: trio.MemoryReceiveChannel[Row]) -> list[Row]:
    """Wait for a row, and then at most a second for more; with no rows, the channel is closed."""
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
    pages = [
        (*page[:2], len(page.body), hashlib.sha256(page.body).hexdigest(), *page[2:])
        for page in batch
        if isinstance(page, Page)
    ]
    with database:
        database.executemany("INSERT OR REPLACE INTO pages VALUES (?, ?, ?, ?, ?, ?, ?)", pages)
        failures = [row for row in batch if isinstance(row, Failure)]
        database.executemany("INSERT INTO failures VALUES (?, ?, ?)", failures)


# -- what runs beside the pool


async def serve_library(*, task_status: trio.TaskStatus[str]) -> None:
    """Serve the standard library on loopback, by a process that ends when this is cancelled."""
    folder = sysconfig.get_path("stdlib")
    # HTTP/1.0, its default, is the faster here: with connections kept alive it would send headers
    # and body in two packets, and the second waits 40 ms for the first to be acknowledged.
    command = [sys.executable, "-I", "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    # A session of its own keeps the terminal's Ctrl-C from the server: the crawl ends it.
    run = partial(
        trio.run_process,
        [*command, "--directory", folder],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(run)
        said = b""
        while process.stdout and (chunk := await process.stdout.receive_some()):
            said += chunk
            if port := re.search(rb"port (\d+) ", said):
                print(f"serving {folder} on port {int(port[1])}")
                task_status.started(f"http://127.0.0.1:{int(port[1])}/")
                break


async def show(progress: Progress, crawl: Crawl) -> None:
    """Keep the progress bar up to date."""
    task = progress.add_task("")
    try:
        while True:
            counts = crawl.statistics()
            total = min(crawl.limit, len(crawl.known) - counts.failed)
            progress.update(task, completed=counts.completed, total=total)
            await trio.sleep(0.1)
    finally:
        progress.update(task, completed=crawl.statistics().completed)


async def stop_on_signal(signals: AsyncIterator[int], crawl: Crawl) -> None:
    """Cut what the pool runs at the first Ctrl-C, and everything at the second."""
    await anext(signals)
    crawl.cancel()
    await anext(signals)
    raise KeyboardInterrupt


async def archive(options: Options, database: sqlite3.Connection, console: Console) -> Crawl:
    """Crawl the site; return the crawl when all is stored."""
    rows, inbox = trio.open_memory_channel[Row](BATCH)
    columns = BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with (
        trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals,
        Progress(*columns, console=console) as progress,
    ):
        async with trio.open_nursery() as nursery:
            url = options.url or await nursery.start(serve_library)
            nursery.start_soon(store, database, inbox)
            async with rows, Crawl(url, rows, options.limit, options.workers, options.delay) as crawl:
                nursery.start_soon(show, progress, crawl)
                nursery.start_soon(stop_on_signal, signals, crawl)
            nursery.cancel_scope.cancel()
    return crawl


# -- the command


class Options(argparse.Namespace):
    """What the command line says."""

    url: str | None
    limit: int
    workers: int
    db: str
    delay: float


def main() -> None:
    """Archive a site and say what came of it."""
    parser = argparse.ArgumentParser(description="Archive a web site into a SQLite database.")
    add = parser.add_argument
    add("--url", type=start, help="where to start (default: serve Python's standard library)")
    add("--limit", type=count, default=2000, help="how many pages to store (default: 2000)")
    add("--workers", type=count, default=10, help="how many fetch at once (default: 10)")
    add("--db", default="archive.db", help="the database (default: archive.db in this folder)")
    add("--delay", type=seconds, default=0.0, help="seconds from one request to the next, overall")
    options = parser.parse_args(namespace=Options())
    console = Console()
    with contextlib.closing(sqlite3.connect(options.db, check_same_thread=False)) as database:
        database.executescript(SCHEMA)
        began = trio.current_time()
        crawl = trio.run(archive, options, database, console)
        console.print(summary(crawl, database, elapsed))
    print("Look into it:")
    for query in QUERIES:
        print(f'  sqlite3 {shlex.quote(options.db)} "{query}"')
