#!/usr/bin/env -S python3 -B
"""Smart-HTTP Git servers for benches, around `git http-backend`: lighttpd where it is installed, else Python's own HTTP server, which takes
more of the CPU that client and server share. `git_http.py ADDRESS ROOT` is the latter, on a free port that it prints."""

import contextlib
import http.server
import os
import pathlib
import shutil
import subprocess
import sys
import threading
import time

import link


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
            "GIT_PROJECT_ROOT": self.server.git_root,
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


def run(address, root):
    """Python's server, until it is killed."""
    server = http.server.ThreadingHTTPServer((address, 0), Handler)
    server.daemon_threads = True
    server.git_root = root
    server.git_environment = dict(os.environ)
    # One write per chunk, at once: small answers must not wait for an acknowledgement.
    server.RequestHandlerClass.disable_nagle_algorithm = True
    server.RequestHandlerClass.wbufsize = 1 << 16
    print(server.server_port, flush=True)
    server.serve_forever()


def choose(wanted):
    """The kind of server to use: the wanted one, or the best there is."""
    if wanted == "lighttpd" or (wanted is None and shutil.which("lighttpd", path=SEARCH_PATH)):
        if not shutil.which("lighttpd", path=SEARCH_PATH):
            sys.exit("error: lighttpd is not installed")
        return "lighttpd"
    return "python"


# Servers lie in folders that are not on every user's path.
SEARCH_PATH = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/usr/local/sbin"])

LIGHTTPD = """
server.modules = ("mod_alias", "mod_cgi", "mod_setenv")
server.bind = "{address}"
server.port = {port}
server.document-root = "{root}"
server.errorlog = "{folder}/lighttpd.log"
server.upload-dirs = ("{folder}")
server.max-keep-alive-requests = 10000
# An answer goes out while it is made, and is made no faster than it goes out.
server.stream-response-body = 2
alias.url = ("/" => "{backend}/")
cgi.assign = ("" => "")
setenv.set-environment = ({variables})
"""


@contextlib.contextmanager
def serve(root, environment, network, kind, folder):
    """Serves the repositories below `root` on the server's side of the network; answers the base URL. `folder` is for the server's
    own files."""
    prefix = [*link.die_with_me(), *network.server_side]
    if kind == "lighttpd":
        server, port = start_lighttpd(root, environment, network, prefix, folder)
    else:
        command = [*prefix, sys.executable, "-B", __file__, network.address, str(root)]
        server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        port = server.stdout.readline().strip()
    try:
        yield f"http://{network.address}:{port}"
    finally:
        server.terminate()
        server.wait()


def start_lighttpd(root, environment, network, prefix, folder):
    port = free_port(network)
    exec_path = subprocess.run(["git", "--exec-path"], env=environment, capture_output=True, text=True, check=True).stdout.strip()
    variables = environment | {"GIT_PROJECT_ROOT": str(root), "GIT_HTTP_EXPORT_ALL": "1"}
    quoted = ", ".join(f'"{name}" => "{value}"' for name, value in variables.items())
    config = pathlib.Path(folder) / "lighttpd.conf"
    config.write_text(
        LIGHTTPD.format(
            address=network.address, port=port, root=root, folder=folder, backend=f"{exec_path}/git-http-backend", variables=quoted
        )
    )
    program = shutil.which("lighttpd", path=SEARCH_PATH)
    server = subprocess.Popen([*prefix, program, "-D", "-f", config], env=environment, stdin=subprocess.DEVNULL)
    probe = [*network.client_side, sys.executable, "-c", "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])))"]
    deadline = time.monotonic() + 10
    while subprocess.run([*probe, network.address, str(port)], stderr=subprocess.DEVNULL).returncode != 0:
        if server.poll() is not None or time.monotonic() > deadline:
            server.kill()
            sys.exit(f"error: lighttpd does not serve; see {config} and its log")
    return server, port


def free_port(network):
    program = "import socket, sys; print(socket.create_server((sys.argv[1], 0)).getsockname()[1])"
    found = subprocess.run([*network.server_side, sys.executable, "-c", program, network.address], capture_output=True, text=True, check=True)
    return int(found.stdout)


if __name__ == "__main__":
    run(*sys.argv[1:])
