"""`inr-jax view`: a folder of results in the browser, over a server that only this machine can reach."""

import webbrowser
from collections.abc import Callable
from functools import partial
from html import escape
from http import HTTPStatus
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import quote

from inr_jax.errors import InputError

HOST = "127.0.0.1"
REPORT = "report.html"
HEADERS = {  # the pages' own policies say the rest
    "Content-Security-Policy": "default-src 'self' data: 'unsafe-inline'; connect-src 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}


def reports(folder: Path) -> list[str]:
    """Paths within the folder of every report there is, its own or of a folder in it, in order.

    Raises InputError where there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder that adapt has written; found none")
    places = (folder / REPORT, *sorted(folder.glob(f"*/{REPORT}")), *sorted(folder.glob(f"*/*/{REPORT}")))
    found = [path for path in places if path.is_file()]
    if not found:
        raise InputError(f"{folder}: expected {REPORT}, here or in folders within; found none")
    return [path.relative_to(folder).as_posix() for path in found]


class Handler(SimpleHTTPRequestHandler):
    """Files of one folder: nothing outside it, no listings, no log."""

    server_version, sys_version = "inr_jax", ""

    def send_head(self) -> Any:
        """As the standard library has it, for those who ask this very address for something within the folder."""
        port = self.connection.getsockname()[1]
        if self.headers.get("Host") not in (f"{HOST}:{port}", f"localhost:{port}"):
            self.send_error(HTTPStatus.FORBIDDEN)  # a page elsewhere whose name was made to lead here
            return None
        if self.path.split("?")[0] == "/":
            self.path = f"/{REPORT}" if Path(self.directory, REPORT).is_file() else "/"
        path, root = Path(self.translate_path(self.path)).resolve(), Path(self.directory).resolve()
        if path != root and (root not in path.parents or not path.is_file()):
            self.send_error(HTTPStatus.NOT_FOUND)
            return None
        return super().send_head()

    def list_directory(self, path: Any) -> Any:
        """Of the folder itself: its reports, by their folders."""
        links = [
            f'<li><a href="/{quote(name)}">{escape(str(Path(name).parent))}</a></li>'
            for name in reports(Path(self.directory))
        ]
        page = (
            f'<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>Reports</title><h1>Reports</h1>'
            f"<ul>{''.join(links)}</ul><p>For research use, not for diagnosis.</p></html>"
        ).encode()
        self.send_response(HTTPStatus.OK)
        self.send_header("Content-Type", "text/html; charset=utf-8")
        self.send_header("Content-Length", str(len(page)))
        self.end_headers()
        self.wfile.write(page)
        return None

    def end_headers(self) -> None:
        for name, value in HEADERS.items():
            self.send_header(name, value)
        super().end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: paths may name a person."""


def make_server(folder: Path) -> ThreadingHTTPServer:
    """A server of the folder on a free port of this machine's own address, which others cannot reach."""
    return ThreadingHTTPServer((HOST, 0), partial(Handler, directory=str(folder)))


def view(folder: str | Path, *, open_browser: bool = True, opened: Callable[[str], Any] = webbrowser.open) -> None:
    """Serves the reports in a folder until Ctrl-C, and shows them in the browser. Raises InputError without any."""
    found = reports(Path(folder))
    with make_server(Path(folder)) as server:
        address = f"http://{HOST}:{server.server_port}/" + (quote(found[0]) if len(found) == 1 else "")
        print(f"{address} (Ctrl-C ends it; no other machine can reach it)", flush=True)
        try:
            if open_browser and not opened(address):
                print("no browser was found: open that address in one", flush=True)
            server.serve_forever()
        except KeyboardInterrupt:
            print("ended", flush=True)
