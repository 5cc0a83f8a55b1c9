"""What archive_site.py has that is not about pools: pages, a server, a database, a command line."""

import argparse
import hashlib
import shlex
import sqlite3
import sys
import sysconfig
from collections.abc import Generator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE, Popen
from urllib.parse import urljoin

import httpx
import rich
import rich.markup
import rich.table
from selectolax.lexbor import LexborHTMLParser

# Serves the folder that it is in until its input ends: with this program, however that ends.
SERVER = """import http.server as http, sys, threading
server = http.ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), http.SimpleHTTPRequestHandler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(server.server_port, flush=True)
sys.stdin.read()"""
SCHEMA = """
DROP TABLE IF EXISTS site; CREATE TABLE site (url TEXT, folder TEXT);
DROP TABLE IF EXISTS links; CREATE TABLE links (url TEXT PRIMARY KEY, stored INT DEFAULT 0);
CREATE TABLE IF NOT EXISTS failures (url TEXT PRIMARY KEY, error TEXT, failed_at REAL);
CREATE TABLE IF NOT EXISTS pages (url TEXT PRIMARY KEY, status INT, size INT, sha256 TEXT,
                                  body BLOB, fetched_at REAL, seconds REAL);
CREATE TRIGGER IF NOT EXISTS stored AFTER INSERT ON pages BEGIN
    UPDATE links SET stored = 1 WHERE url = new.url; DELETE FROM failures WHERE url = new.url;
END;
"""
LINK = "INSERT OR IGNORE INTO links (url) VALUES (?)"
LOOK = """SELECT status, count(*), sum(size) FROM pages GROUP BY status
SELECT url, size, sha256, datetime(fetched_at, 'unixepoch') FROM pages LIMIT 20
SELECT url, error FROM failures"""


def normalised(link: str, base: str = "") -> httpx.URL:
    """Return the one spelling of the URL that a link means: no fragment, / for an empty path."""
    url = httpx.URL(urljoin(base, link.strip()))
    return url.copy_with(raw_path=url.raw_path, fragment=None)


def examine(page: httpx.Response) -> tuple[str, list[str]]:
    """Return the SHA-256 of a page, and the URLs on the same site to which it leads."""
    base, links, here = str(page.url), list[str](), (page.url.scheme, page.url.netloc)
    if page.has_redirect_location:
        links.append(page.headers["location"])
    elif page.headers.get("content-type", "").lower().startswith("text/html"):
        html = LexborHTMLParser(decoded(page))
        for node in html.css("base[href]")[:1]:
            base = urljoin(base, node.attributes["href"] or "")
        nodes = [node.attributes for node in html.css(":not(base)[href], [src]")]
        links = [link for node in nodes for link in (node.get("href"), node.get("src")) if link]
    found: dict[str, None] = {}
    for link in links:
        with suppress(httpx.InvalidURL, ValueError):
            url = normalised(link, base)
            if (url.scheme, url.netloc) == here and "\ufffd" not in link:  # it cannot be read
                found[str(url)] = None
    return hashlib.sha256(page.content).hexdigest(), list(found)


def decoded(page: httpx.Response) -> str:
    """Return the text of a page, as well as it can be read."""
    try:
        return page.content.decode(page.charset_encoding or "utf-8", "replace")
    except (LookupError, ValueError):  # no such encoding, or none of text
        return page.content.decode("latin-1")


@contextmanager
def served(folder: str, port: int) -> Generator[str]:
    """Serve a folder on loopback, by a process that ends with this one; port 0: any that is free.

    Raises:
        OSError: the port is taken.
    """
    # In a session of its own: a terminal's Ctrl-C is not for the server.
    run = partial(Popen[bytes], stdin=PIPE, stdout=PIPE, stderr=DEVNULL, start_new_session=True)
    with run([sys.executable, "-I", "-c", SERVER, str(port)], cwd=folder) as server:
        if server.stdout is None or not (said := server.stdout.readline()):
            raise OSError(f"its pages are those of port {port}, and that is taken")
        yield f"http://127.0.0.1:{int(said)}/"


def command_line() -> tuple[argparse.ArgumentParser, argparse.Namespace]:
    """Read the options; return what can refuse them, as well."""
    parser = argparse.ArgumentParser(description="Archive a web site into a SQLite database.")
    add, where = parser.add_argument, parser.add_mutually_exclusive_group()
    where.add_argument("--url", help="where to start (default: serves Python's standard library)")
    where.add_argument("--resume", action="store_true", help="go on with what is in the database")
    add("--limit", type=int, default=2000, help="pages to store (default: 2000)")
    add("--workers", type=int, default=10, help="pages to fetch at once (default: 10)")
    add("--db", default="archive.db", help="the database (default: archive.db in this folder)")
    add("--delay", type=float, default=0.0, help="seconds from request to request, all workers")
    options = parser.parse_args()
    if min(options.limit, options.workers) < 1:
        parser.error("--limit and --workers must be at least 1")
    if not (options.url or "http://").startswith(("http://", "https://")):
        parser.error("--url must start with http:// or https://")
    return parser, options


@contextmanager
def opened(
    parser: argparse.ArgumentParser, options: argparse.Namespace
) -> Generator[tuple[str, sqlite3.Connection]]:
    """Open the database, and serve the site if that is the default one; also give its address."""
    uri = f"{Path(options.db).absolute().as_uri()}?mode={'rw' if options.resume else 'rwc'}"
    with ExitStack() as stack:
        try:
            database = sqlite3.connect(uri, uri=True, check_same_thread=False)
            stack.enter_context(closing(database))
            if options.resume:
                begun = database.execute("SELECT url, folder FROM site").fetchone()
                if begun is None:
                    parser.exit(2, f"{options.db}: cannot go on: no archive was begun in it\n")
                url, folder = begun
            else:
                url = str(normalised(options.url or "http://127.0.0.1:0/"))
                folder = None if options.url else sysconfig.get_path("stdlib")
            if folder:
                url = stack.enter_context(served(folder, httpx.URL(url).port or 0))
            if not options.resume:
                # All or nothing: until here, the archive that was in it could still be resumed.
                database.executescript(f"BEGIN; {SCHEMA}")
                with database:
                    database.execute("INSERT INTO site VALUES (?, ?)", (url, folder))
                    database.execute(LINK, (url,))
        except (sqlite3.Error, OSError, ValueError, httpx.InvalidURL) as error:
            aim = "go on" if options.resume else "begin"
            parser.exit(2, f"{options.db}: cannot {aim}: {error}\n")
        yield url, database


def number(database: sqlite3.Connection, query: str) -> int:
    """Return the one number that a query finds."""
    (found,) = database.execute(query).fetchone()
    return int(found)


def tell(title: str, counts: Mapping[str, float], path: str) -> None:
    """Print what came of it, and how to look into the database."""
    table = rich.table.Table(*map(rich.markup.escape, title.split(maxsplit=1)))
    for name, count in counts.items():
        table.add_row(name, f"{count:,}")
    rich.print(table)
    print("To look into the database:")
    for query in LOOK.splitlines():
        print(f'  sqlite3 {shlex.quote(path)} "{query}"')
