#!/usr/bin/env -S python3 -B
"""Networks for benches: an emulated link between two network namespaces, a loopback of one's own, or the machine's loopback.

The link needs no netem, which many kernels lack: each namespace has a TUN device, and a process of ours carries packets from one to the
other, late by half the round trip and no faster than the rate. TCP is the kernel's own. Packets cross uncut (segmentation
offload, as between a kernel and a network card), so that the process costs little; the far side sees 1500-byte segments.

Run as a program, it makes the link, measures it, and prints what it found.
"""

import argparse
import collections
import contextlib
import dataclasses
import fcntl
import os
import select
import shutil
import struct
import subprocess
import sys
import time

SERVER, CLIENT = "10.173.0.1", "10.173.0.2"
# More than this waits in no queue: 4 MiB, what a switch with deep buffers holds. The receive windows of a few connections fit.
QUEUE_BYTES = 4 << 20

TUNSETIFF, TUNSETOFFLOAD = 0x400454CA, 0x400454D0
IFF_TUN, IFF_NO_PI, IFF_VNET_HDR = 0x0001, 0x1000, 0x4000
TUN_F_CSUM, TUN_F_TSO4 = 0x01, 0x02
VNET_HEADER_BYTES = 10


@dataclasses.dataclass
class Network:
    """Where servers listen, how programs get to either side, and how much the client's side received."""

    title: str
    address: str
    server_side: list
    client_side: list
    counted: str | None
    forwarder: subprocess.Popen | None = None

    def received_bytes(self):
        """Bytes the client's interface received since it exists; None where other programs use the interface too."""
        if self.counted is None:
            return None
        listing = subprocess.run([*self.client_side, "cat", "/proc/net/dev"], capture_output=True, text=True, check=True).stdout
        line = next(line for line in listing.splitlines() if line.strip().startswith(self.counted + ":"))
        return int(line.split(":")[1].split()[0])

    def forwarder_cpu(self):
        """CPU seconds of the process that is the link."""
        with open(f"/proc/{self.forwarder.pid}/stat", encoding="ascii") as stat:
            fields = stat.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def link(gbit, round_trip_ms):
    """A link of this rate and round trip between two namespaces; needs root. All of it is gone when this process is."""
    with _namespace() as server, _namespace() as client:
        arguments = [sys.executable, "-B", __file__, "forward", str(server), str(client), str(gbit), str(round_trip_ms)]
        forwarder = subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        try:
            if not forwarder.stdout.readline():
                sys.exit("error: the link could not be made")
            title = f"a link of {gbit:g} Gbit/s and {round_trip_ms:g} ms"
            yield Network(title, SERVER, _inside(server), _inside(client), "wire", forwarder)
        finally:
            forwarder.stdin.close()
            forwarder.wait()


@contextlib.contextmanager
def loopback():
    """The loopback: of a namespace of its own for root, so that its bytes can be counted, else the machine's."""
    if os.geteuid() != 0:
        yield Network("the loopback", "127.0.0.1", [], [], None)
        return
    with _namespace() as process:
        inside = _inside(process)
        subprocess.run([*inside, "ip", "link", "set", "lo", "up"], check=True)
        yield Network("the loopback", "127.0.0.1", inside, inside, "lo")


def die_with_me():
    """A prefix for long-lived programs, so that none outlives a bench that was killed."""
    return ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []


@contextlib.contextmanager
def _namespace():
    """A network namespace, as the process that keeps it: it ends when its input does, which a killed bench cannot prevent."""
    keeper = subprocess.Popen(["unshare", "--net", "sh", "-c", "echo; exec cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        if not keeper.stdout.readline():
            sys.exit("error: unshare --net failed")
        # Nothing that one run learns about the path may help the next.
        subprocess.run([*_inside(keeper.pid), "sh", "-c", "echo 1 > /proc/sys/net/ipv4/tcp_no_metrics_save"], check=True)
        yield keeper.pid
    finally:
        keeper.stdin.close()
        keeper.wait()


def _inside(process):
    return ["nsenter", f"--net=/proc/{process}/ns/net"]


def forward(server, client, gbit, round_trip_ms):
    """Makes both devices and carries packets until stdin ends."""
    # Hardware does not wait for a CPU.
    os.nice(-20)
    ends = []
    for side, (process, own, peer) in enumerate(((server, SERVER, CLIENT), (client, CLIENT, SERVER))):
        device = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        name = f"hs{os.getpid()}{'sc'[side]}"
        fcntl.ioctl(device, TUNSETIFF, struct.pack("16sH22x", name.encode(), IFF_TUN | IFF_NO_PI | IFF_VNET_HDR))
        fcntl.ioctl(device, TUNSETOFFLOAD, TUN_F_CSUM | TUN_F_TSO4)
        subprocess.run(["ip", "link", "set", name, "netns", str(process)], check=True)
        for command in (
            ["link", "set", name, "name", "wire", "mtu", "1500", "txqueuelen", "10000"],
            ["addr", "add", own, "peer", peer, "dev", "wire"],
            ["link", "set", "lo", "up"],
            ["link", "set", "wire", "up"],
        ):
            subprocess.run([*_inside(process), "ip", *command], check=True)
        ends.append(device)
    print("ready", flush=True)
    _carry(ends, gbit * 1e9 / 8, round_trip_ms / 2000)


def _carry(ends, bytes_per_second, delay):
    # Per direction: what is on its way with the moment it arrives, and when the sending end is free again.
    directions = [[ends[0], ends[1], collections.deque(), 0.0], [ends[1], ends[0], collections.deque(), 0.0]]
    stdin = sys.stdin.fileno()
    while True:
        arrivals = [direction[2][0][0] for direction in directions if direction[2]]
        wait = max(0.0, min(arrivals) - time.monotonic()) if arrivals else None
        readable = select.select([*ends, stdin], [], [], wait)[0]
        if stdin in readable:
            return
        for direction in directions:
            source, target, queue, free_at = direction
            if source in readable:
                with contextlib.suppress(BlockingIOError):
                    while True:
                        packet = os.read(source, 1 << 17)
                        now = time.monotonic()
                        free_at = max(free_at, now)
                        if (free_at - now) * bytes_per_second > QUEUE_BYTES:
                            continue
                        free_at += (len(packet) - VNET_HEADER_BYTES) / bytes_per_second
                        queue.append((free_at + delay, packet))
                direction[3] = free_at
            now = time.monotonic()
            while queue and queue[0][0] <= now:
                # A side that is going down takes nothing.
                with contextlib.suppress(OSError):
                    os.write(target, queue.popleft()[1])


LISTENER = """
import socket, sys
listener = socket.create_server((sys.argv[1], 0))
print(listener.getsockname()[1], flush=True)
while True:
    peer, _ = listener.accept()
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    while ask := peer.recv(16):
        left = int(ask)
        while left > 0:
            left -= peer.send(bytes(min(left, 1 << 18)))
"""

ASKER = """
import json, socket, sys, time
peer = socket.create_connection((sys.argv[1], int(sys.argv[2])))
peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
def take(size):
    start = time.monotonic()
    peer.send(b"%16d" % size)
    while size > 0:
        size -= len(peer.recv(1 << 18))
    return time.monotonic() - start
turns = sorted(take(1) for _ in range(20))
sys.stdout.write(json.dumps([turns[10], take(1 << 20), take(200 << 20)]))
"""


def measure(network):
    """Round trip in ms, seconds for one MiB on a fresh connection, MB/s of 200 MiB, and the share of one core the link itself took."""
    import json

    listener = subprocess.Popen(
        [*die_with_me(), *network.server_side, sys.executable, "-c", LISTENER, network.address], stdout=subprocess.PIPE, text=True
    )
    try:
        port = listener.stdout.readline().strip()
        cpu, start = network.forwarder_cpu(), time.monotonic()
        asker = [*network.client_side, sys.executable, "-c", ASKER, network.address, port]
        turn, first, bulk = json.loads(subprocess.run(asker, capture_output=True, check=True).stdout)
        cpu = (network.forwarder_cpu() - cpu) / (time.monotonic() - start)
    finally:
        listener.kill()
        listener.wait()
    return turn * 1000, first, (200 << 20) / bulk / 1e6, cpu


def verify(network, gbit, round_trip_ms):
    """Measures until the link is what it should be, five times at most; answers a sentence with what was found. A link that is too good ends
    the bench; one that a busy machine slows down is said to be."""
    for _ in range(5):
        turn, first, rate, cpu = measure(network)
        if turn < round_trip_ms or rate > gbit * 125 * 1.02:
            sys.exit(f"error: the link gives {turn:.1f} ms and {rate:.0f} MB/s")
        as_asked_for = turn < round_trip_ms * 1.2 + 1 and rate > gbit * 125 * 0.8
        if as_asked_for:
            break
    said = (
        f"Measured before the races: a round trip takes {turn:.1f} ms, the first MiB of a connection {first * 1000:.0f} ms, "
        f"200 MiB come at {rate:.0f} MB/s while the link itself takes {cpu:.0%} of one core."
    )
    return said if as_asked_for else f"{said} **The machine is too busy for the link that was asked for.**"


def main():
    if sys.argv[1:2] == ["forward"]:
        server, client, gbit, round_trip_ms = sys.argv[2:]
        forward(int(server), int(client), float(gbit), float(round_trip_ms))
        return
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--gbit", type=float, default=1.0, help="rate in Gbit/s (default 1)")
    parser.add_argument("--round-trip", type=float, default=10.0, metavar="MS", help="round trip in ms (default 10)")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("error: network namespaces need root")
    with link(options.gbit, options.round_trip) as network:
        print(verify(network, options.gbit, options.round_trip))


if __name__ == "__main__":
    main()
