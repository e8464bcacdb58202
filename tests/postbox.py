"""A receiver of webhooks on a thread of its own, on loopback."""

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Postbox:
    """Keeps what is posted; `next` waits for the next letter. The guard must let `host` in."""

    def __init__(self) -> None:
        self._letters: queue.Queue[dict[str, Any]] = queue.Queue()
        letters = self._letters

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                letters.put(json.loads(self.rfile.read(int(self.headers["content-length"]))))
                self.send_response(204)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  (the library's signature)
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"localhost:{self._server.server_address[1]}"
        self.url = f"http://{self.host}/hook"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def next(self) -> dict[str, Any]:
        return self._letters.get(timeout=20)

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
