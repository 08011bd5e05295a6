"""A smart-HTTP Git server for benches: Python's own HTTP server around `git http-backend`, on a free port of the loopback."""

import contextlib
import http.server
import subprocess
import threading


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.answer(b"")

    def do_POST(self):
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = b"".join(iter(self.chunk, b""))
        else:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer(body)

    def chunk(self):
        length = int(self.rfile.readline().split(b";")[0], 16)
        data = self.rfile.read(length)
        self.rfile.readline()
        return data

    def answer(self, body):
        path, _, query = self.path.partition("?")
        environment = self.server.git_environment | {
            "GIT_PROJECT_ROOT": str(self.server.git_root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": path,
            "QUERY_STRING": query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "HTTP_GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_ADDR": "127.0.0.1",
        }
        backend = subprocess.Popen(
            ["git", "http-backend"], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
        # On a thread, since the backend may answer before it has read everything.
        threading.Thread(target=self.feed, args=(backend.stdin, body), daemon=True).start()
        status, headers = 200, []
        for line in iter(backend.stdout.readline, b"\r\n"):
            if not line:
                break
            name, _, value = line.decode().strip().partition(": ")
            if name == "Status":
                status = int(value.split()[0])
            else:
                headers.append((name, value))
        self.send_response(status)
        for name, value in headers:
            self.send_header(name, value)
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        try:
            while data := backend.stdout.read1(1 << 18):
                self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))
            self.wfile.write(b"0\r\n\r\n")
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
        finally:
            backend.stdout.close()
            backend.wait()

    @staticmethod
    def feed(stdin, body):
        with contextlib.suppress(BrokenPipeError), stdin:
            stdin.write(body)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def serve(root, environment):
    """Serves the repositories below `root`; answers the base URL."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    server.git_root = root
    server.git_environment = environment
    # One write per chunk, at once: small answers must not wait for an acknowledgement.
    server.RequestHandlerClass.disable_nagle_algorithm = True
    server.RequestHandlerClass.wbufsize = 1 << 16
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
