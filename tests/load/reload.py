#!/usr/bin/env python3
"""A zone of a million names is read again while queries come in: how many are lost, how much memory that takes.

Needs dnsperf. Load goes to 127.0.0.1 only and ends by itself. Exits with 1 when a query is lost or the
peak is over 2.2 times what the server had before.

    tests/load/reload.py [--server BINARY] [--names N] [--rate QUERIES_A_SECOND] [--seconds N]
"""
import argparse
import pathlib
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time

PEAK_MAX = 2.2


def free_port():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def write_zone(path, names, serial):
    with path.open("w") as zone:
        zone.write(f"$ORIGIN big.test.\n$TTL 3600\n@ SOA ns post {serial} 3600 600 86400 300\n@ NS ns\nns A 192.0.2.53\n")
        for number in range(names):
            zone.write(f"n{number:07x} A 10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}\n")


def rss_kib(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1])


def drops(port):
    """Datagrams that the kernel had no room for, of the sockets on this port."""
    lines = pathlib.Path("/proc/net/udp").read_text().splitlines()[1:]
    sockets = [line.split() for line in lines]
    return sum(int(fields[-1]) for fields in sockets if fields[1].endswith(f":{port:04X}"))


class Sampler(threading.Thread):
    """Notes the largest RSS."""

    def __init__(self, pid):
        super().__init__(daemon=True)
        self.pid, self.peak, self.over = pid, 0, False

    def run(self):
        while not self.over:
            self.peak = max(self.peak, rss_kib(self.pid))
            time.sleep(0.005)


def wait_for(log, pattern, seconds):
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        if re.search(pattern, log.read_text()):
            return
        time.sleep(0.02)
    sys.exit(f"'{pattern}' did not come within {seconds} s:\n{log.read_text()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--server", default=str(root / "target/release/corten"))
    parser.add_argument("--names", type=int, default=1_000_000)
    parser.add_argument("--rate", type=int, default=50_000)
    parser.add_argument("--seconds", type=int, default=12)
    wanted = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        zone, queries, log, port = folder / "db.big", folder / "queries", folder / "log", free_port()
        write_zone(zone, wanted.names, 1)
        newer = folder / "db.big.newer"
        write_zone(newer, wanted.names, 2)
        step = max(1, wanted.names // 100_000)
        queries.write_text("".join(f"n{number:07x}.big.test A\n" for number in range(0, wanted.names, step)))
        (folder / "Corefile").write_text(f"big.test:{port} {{\n bind 127.0.0.1\n file {zone} {{\n  reload 200ms\n }}\n}}\n")
        with log.open("w") as output:
            begun = time.monotonic()
            server = subprocess.Popen([wanted.server, "-conf", str(folder / "Corefile")], stdout=output, stderr=output)
        try:
            wait_for(log, r"Corten-", 60)
            print(f"first load and start: {time.monotonic() - begun:.2f} s")
            before = rss_kib(server.pid)
            sampler = Sampler(server.pid)
            sampler.start()
            load = subprocess.Popen(
                ["dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(queries), "-l", str(wanted.seconds),
                 "-Q", str(wanted.rate), "-q", "20000", "-c", "8", "-t", "2"],
                stdout=subprocess.PIPE, text=True)
            time.sleep(wanted.seconds / 4)
            # All or nothing, as tools that make zones do.
            newer.replace(zone)
            begun = time.monotonic()
            wait_for(log, r"Successfully reloaded zone.* with 2 SOA serial", 60)
            print(f"read again within {time.monotonic() - begun:.2f} s of its coming")
            report = load.communicate()[0]
            sampler.over = True
            dropped = drops(port)
        finally:
            server.terminate()
            server.wait()
    lost = int(re.search(r"Queries lost:\s+(\d+)", report)[1])
    rate = float(re.search(r"Queries per second:\s+([\d.]+)", report)[1])
    codes = re.search(r"Response codes:\s+(.*)", report)[1]
    ratio = sampler.peak / before
    print(f"{rate:.0f} queries a second, {lost} lost ({dropped} at the server's sockets), {codes}")
    print(f"RSS before {before >> 10} MiB, peak {sampler.peak >> 10} MiB: {ratio:.2f} times")
    return int(lost > 0 or ratio > PEAK_MAX)


if __name__ == "__main__":
    sys.exit(main())
