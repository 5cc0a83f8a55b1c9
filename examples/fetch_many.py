"""Fetch many pages, at most eight at once and at most a hundred a second.

    python examples/fetch_many.py

The script serves the pages itself, on a free port of this machine. Every tenth request is
answered with 503, "try again", and tried again.
"""

from __future__ import annotations

import itertools
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import trio

from poolder_trio import Rate, Retry, Tasker


class Shop(BaseHTTPRequestHandler):
    """Answers each path with a page about it, most of the time."""

    requests = itertools.count(1)

    def do_GET(self) -> None:
        """Answer, or be too busy."""
        body = f"<h1>Article {self.path}</h1>".encode()
        self.send_response_only(503 if next(self.requests) % 10 == 0 else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


async def fetch_all(site: str) -> None:
    """Fetch all pages, and say how that went."""
    urls = (f"{site}/{number}" for number in range(150))
    retry = Retry(attempts=5, backoff=0.05, factor=2, on=httpx.HTTPStatusError)
    tasker = Tasker(limit=8, rate=Rate(100), retry=retry)
    began = time.perf_counter()
    async with httpx.AsyncClient() as client, tasker:

        async def fetch(url: str) -> bytes:
            response = await client.get(url)
            return response.raise_for_status().content

        async with tasker.map(fetch, urls) as bodies:
            sizes = [len(body) async for body in bodies]
    seconds, requests = time.perf_counter() - began, next(Shop.requests) - 1
    print(f"{len(sizes)} pages, {sum(sizes)} bytes, {requests} requests", end=", ")
    print(f"{requests / seconds:.0f} a second")


if __name__ == "__main__":
    with ThreadingHTTPServer(("127.0.0.1", 0), Shop) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        trio.run(fetch_all, f"http://127.0.0.1:{server.server_port}")
        server.shutdown()
