#!/usr/bin/env python3
"""CPU microseconds a query, on one core, over loopback.

    tests/load/bench.py [--server target/release/corten] [--seconds 3] [--runs 3] [WORKLOAD...]

The server is pinned to CPU 0, the generator (dnsperf, Debian package `dnsperf`) to CPU 1. The figure is user plus
system time of the server's process, from /proc/PID/stat, over the queries answered: it holds on a busy machine and
when the generator is the slower of the two. The median of the runs is printed with its range. Any server that reads
Corefiles can be measured with --server. Load goes to 127.0.0.1 only, and ends by itself.
"""
import argparse
import os
import pathlib
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

WHOAMI, HOSTS, CACHE = [" whoami"], [" hosts {folder}/hosts"], [" cache {", "  success 100000", " }"]
TYPICAL = [" errors", " prometheus 127.0.0.1:{metrics}", " reload", " loadbalance", " loop"]
UDP, TCP, DOT = ["-m", "udp"], ["-m", "tcp", "-c", "50"], ["-m", "dot", "-c", "50"]
WORKLOADS = {
    # name: (what it is, number of names, lines of the server block, dnsperf's arguments)
    "whoami": ("a fixed answer, UDP", 100, WHOAMI, UDP),
    "hosts-100": ("hosts file of 100 names, UDP", 100, HOSTS, UDP),
    "hosts-100k": ("hosts file of 100,000 names, UDP", 100_000, HOSTS, UDP),
    "tcp": ("hosts data, TCP, 50 connections kept open", 100, HOSTS, TCP),
    "dot": ("hosts data, DNS over TLS, 50 connections kept open", 100, HOSTS, DOT),
    "cache": ("answers from the cache, UDP", 10_000, CACHE + HOSTS, UDP),
    "cache-tcp": ("answers from the cache, TCP, 50 connections kept open", 10_000, CACHE + HOSTS, TCP),
    "typical": ("answers from the cache, with what a Corefile usually has, UDP", 10_000, TYPICAL + CACHE + HOSTS, UDP),
    "typical-log": ("the same with *log* to a file", 10_000, [" log"] + TYPICAL + CACHE + HOSTS, UDP),
    "forward": ("every query to an upstream, UDP", 10_000, [" forward . 127.0.0.1:{upstream}"], UDP),
}


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def corefile(folder, count, block, tls):
    """Writes configurations, data and queries; returns the ports of server and upstream."""
    port, upstream, metrics = free_port(), free_port(), free_port()
    lines = [f"{'tls://' if tls else ''}.:{port} {{", " bind 127.0.0.1"]
    if tls:
        lines.append(f" tls internal localhost {{\n  certpath {folder}\n }}")
    places = {"{folder}": folder, "{upstream}": upstream, "{metrics}": metrics}
    for line in block:
        for place, value in places.items():
            line = line.replace(place, str(value))
        lines.append(line)
    hosts = "".join(f"192.0.2.{i % 250 + 1} host{i}.bench.example\n" for i in range(count))
    (folder / "hosts").write_text(hosts)
    (folder / "Corefile").write_text("\n".join(lines + ["}"]) + "\n")
    answers = ' template IN A {\n  answer "{{ .Name }} 60 IN A 192.0.2.1"\n }'
    (folder / "Upstream").write_text(f".:{upstream} {{\n bind 127.0.0.1\n{answers}\n}}\n")
    order = [i * 7919 % count for i in range(min(count, 100_000))]
    (folder / "queries").write_text("".join(f"host{i}.bench.example A\n" for i in order))
    return port, upstream


def start(server, folder, name, core):
    output = open(folder / f"{name}.out", "wb")
    return subprocess.Popen(["taskset", "-c", str(core), server, "-conf", str(folder / name)],
                            stdout=output, stderr=subprocess.STDOUT)


def cpu_seconds(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def pss_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def wait_for(port, process, output):
    until = time.monotonic() + 20
    while time.monotonic() < until:
        if process.poll() is not None:
            sys.exit(f"the server ended: {output.read_text()}")
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
            return
        except OSError:
            time.sleep(0.002)
    sys.exit("the server does not listen")


def load(folder, port, arguments, seconds):
    """Runs the generator; returns the number of queries answered and lost."""
    command = ["taskset", "-c", "1", "dnsperf", "-s", "127.0.0.1", "-p", str(port), "-d", str(folder / "queries"),
               "-l", str(seconds), "-q", "100", "-t", "2", *arguments]
    text = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 30, check=False).stdout
    found = [re.search(rf"Queries {what}: +(\d+)", text) for what in ("completed", "lost")]
    if not all(found):
        sys.exit(f"dnsperf said:\n{text}")
    return int(found[0][1]), int(found[1][1])


def measure(server, name, seconds, runs):
    what, count, block, arguments = WORKLOADS[name]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        port, upstream = corefile(folder, count, block, "dot" in arguments)
        processes = []
        try:
            if name == "forward":
                processes.append(start(server, folder, "Upstream", 1))
                wait_for(upstream, processes[0], folder / "Upstream.out")
            started = time.monotonic()
            process = start(server, folder, "Corefile", 0)
            processes.append(process)
            wait_for(port, process, folder / "Corefile.out")
            ready = (time.monotonic() - started) * 1000
            idle = pss_mib(process.pid)
            load(folder, port, arguments, 1)
            figures, lost = [], 0
            for _ in range(runs):
                before = cpu_seconds(process.pid)
                answered, missing = load(folder, port, arguments, seconds)
                figures.append((cpu_seconds(process.pid) - before) / max(answered, 1) * 1e6)
                lost += missing
            print(f"{name:11} {statistics.median(figures):6.2f} us/query [{min(figures):.2f}..{max(figures):.2f}]  lost {lost}"
                  f"  listens after {ready:.0f} ms  memory {idle:.1f} -> {pss_mib(process.pid):.1f} MiB  ({what})")
        finally:
            for process in processes:
                process.kill()
                process.wait()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    root = pathlib.Path(__file__).resolve().parents[2]
    parser.add_argument("--server", default=str(root / "target/release/corten"))
    parser.add_argument("--seconds", type=int, default=3)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("workloads", nargs="*", default=list(WORKLOADS), metavar="WORKLOAD")
    arguments = parser.parse_args()
    for tool in ("dnsperf", "taskset"):
        if not shutil.which(tool):
            sys.exit(f"{tool} is not installed (Debian: apt-get install dnsperf util-linux)")
    for name in arguments.workloads:
        if name not in WORKLOADS:
            sys.exit(f"no workload '{name}'; there are {', '.join(WORKLOADS)}")
        measure(arguments.server, name, arguments.seconds, arguments.runs)


if __name__ == "__main__":
    main()
