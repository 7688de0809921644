#!/usr/bin/env python3
"""Writes layout/functions.ld: the functions that a daemon with stores runs at its start, while it is
idle, and for requests and logins. Runs the program under valgrind, against a real sshd. Needs root, and
the Debian packages valgrind, gcc, binutils and openssh-server.

    FUNCTION_ORDER=none cargo rustc --profile dist --locked --bin imagestore-agent -- -C strip=none
    layout/record.py target/dist/imagestore-agent
"""

import bisect
import collections
import hashlib
import http.server
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ORDER = pathlib.Path(__file__).with_name("functions.ld")
TOKEN, USER, PASSWORD = "a-session", "layout-record", "layout-record-password"
STORES = 8
STORE_PATH = "/zstack/v1/backup-storage/image-store"
# The hash at the end of the name of a function changes with each build, and those of the standard
# library with each compiler.
HASH = re.compile(r"(?<=17h)[0-9a-f]{16}E(\.llvm\.\d+)?$|(?<=Cs)[0-9A-Za-z]+(?=_\d)")
# Share of the size of all functions with one name that have run. Beyond it they are put together.
DENSE = 0.5
# Under valgrind, /proc/self/exe is valgrind. The daemon starts its workers by this path.
SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
typedef int (*spawn)(pid_t *, const char *, const posix_spawn_file_actions_t *, const posix_spawnattr_t *,
                     char *const *, char *const *);
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const *args, char *const *variables) {
  spawn next = (spawn)dlsym(RTLD_NEXT, "posix_spawnp");
  if (strcmp(file, "/proc/self/exe") == 0) file = getenv("PROGRAM");
  return next(pid, file, actions, attributes, args, variables);
}
"""


class Receiver(http.server.BaseHTTPRequestHandler):
    """The receiver of the callbacks."""

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


class Daemon:
    """A running daemon, under valgrind if `record` names the file of its record."""

    def __init__(self, program, root, record=None):
        command = [program, "--config", root / "agent.toml", "serve"]
        variables = dict(os.environ)
        if record:
            command = ["valgrind", "--tool=callgrind", "--dump-instr=yes",
                       f"--callgrind-out-file={record}", *command]
            variables.update(LD_PRELOAD=str(root / "shim.so"), PROGRAM=program)
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, env=variables, text=True)
        self.address = None
        for line in self.process.stderr:
            if '"serving"' in line:
                self.address = re.search(r"127\.0\.0\.1:\d+", line)[0]
                break
        assert self.address, "the daemon ended"
        drain = threading.Thread(target=lambda: list(self.process.stderr), daemon=True)
        drain.start()

    def ask(self, method, path, params=None):
        body = None if params is None else json.dumps({"params": params}).encode()
        headers = {"Authorization": f"OAuth {TOKEN}", "Content-Type": "application/json"}
        request = urllib.request.Request(f"http://{self.address}{path}", body, headers, method=method)
        with urllib.request.urlopen(request, timeout=120) as response:
            return json.load(response)

    def scrape(self, accept):
        headers = {"Authorization": f"OAuth {TOKEN}", "Accept": accept}
        request = urllib.request.Request(f"http://{self.address}/metrics", headers=headers)
        with urllib.request.urlopen(request, timeout=120) as response:
            response.read()

    def stop(self):
        self.process.terminate()
        self.process.wait()


def executed(record, program):
    """Returns the addresses of the instructions of the program that have run."""
    address, current, objects, found = 0, None, {}, set()
    for line in open(record):
        if change := re.match(r"(c?)ob=\((\d+)\)\s*(.*)$", line):
            called, number, path = change.groups()
            objects.setdefault(number, path)
            current = current if called else objects[number]
        elif cost := re.match(r"(0x[0-9a-f]+|\+\d+|-\d+|\*)\s", line):
            text = cost[1]
            if text.startswith("0x"):
                address = int(text, 16)
            elif text != "*":
                address += int(text)
            if current == program:
                found.add(address)
    return found


def functions(program):
    """Returns the functions of the program: address, size and name."""
    names = subprocess.run(["nm", "-S", "--defined-only", program], check=True, capture_output=True, text=True)
    rows = [line.split() for line in names.stdout.splitlines()]
    found = sorted((int(row[0], 16), int(row[1], 16), row[3]) for row in rows if len(row) == 4 and row[2] in "tTwW")
    assert len(found) > 1000, "the program has no symbols"
    sections = subprocess.run(["readelf", "-SW", program], check=True, capture_output=True, text=True)
    assert ".text.used" not in sections.stdout, "the program has the order: build it with FUNCTION_ORDER=none"
    return found


def sizes_that_ran(found, addresses):
    """Returns the size of the functions that have run, by their names without the hash."""
    starts, ran = [start for start, _, _ in found], set()
    for address in addresses:
        index = bisect.bisect_right(starts, address) - 1
        # Several names may have one address.
        while index >= 0 and starts[index] + found[index][1] > address:
            ran.add(found[index])
            index -= 1
    sizes = collections.Counter()
    for _, size, name in ran:
        sizes[HASH.sub("*", name)] += size
    return sizes


def patterns(total, idle, busy):
    """Returns short patterns for the names of the functions that ran, in groups: those at start and while
    idle, then those for requests; of both, first those of which most ran. A pattern ends where all functions
    whose names begin so are in one group."""
    names, groups = sorted(total), [[], [], [], []]

    def split(begin, end, depth):
        size, ran_idle, ran_busy = (sum(sizes[name] for name in names[begin:end]) for sizes in [total, idle, busy])
        first = names[begin]
        if not ran_idle + ran_busy:
            return
        is_one = end - begin == 1
        ran, group = (ran_idle, 0) if ran_idle else (ran_busy, 2)
        if is_one or ran == size:
            pattern = first if len(first) < depth else first[:depth] + "*"
            groups[group + (ran < DENSE * size)].append(pattern.replace("**", "*"))
            return
        while begin < end:
            letter = names[begin][depth:depth + 1]
            after = begin
            while after < end and names[after][depth:depth + 1] == letter:
                after += 1
            split(begin, after, depth + 1)
            begin = after

    split(0, len(names), 0)
    return groups


def write_order(found, idle, busy):
    total = collections.Counter()
    for _, size, name in found:
        total[HASH.sub("*", name)] += size
    groups = patterns(total, idle, busy)
    lines = [f"    *(.text.{name} .text.unlikely.{name})" for group in groups for name in group]
    head = "/* Written by layout/record.py: docs/decisions/0007-function-order.md. */"
    ORDER.write_text("\n".join([head, "SECTIONS", "{", "  .text.used :", "  {", *lines, "  }", "}",
                                "INSERT BEFORE .text;", ""]))
    print(f"{len(lines)} patterns", [len(group) for group in groups])


def record_runs(program, root):
    """Returns the sizes of the functions that ran at start and while idle, and of those for requests."""
    (root / "shim.c").write_text(SHIM)
    subprocess.run(["cc", "-shared", "-fPIC", "-o", root / "shim.so", root / "shim.c", "-ldl"], check=True)
    receiver = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=receiver.serve_forever, daemon=True).start()
    (root / "tokens").write_text(f"record:{hashlib.sha256(TOKEN.encode()).hexdigest()}:admin\n")
    (root / "tokens").chmod(0o600)
    (root / "agent.toml").write_text(
        f'[server]\nlisten = ["127.0.0.1:0"]\n[state]\ndir = "{root}/state"\n'
        f'[auth]\ntokens_file = "{root}/tokens"\n[monitor]\ninterval = "1s"\n'
        f'[storage]\nallowed_roots = ["{root}/images"]\nallow_root_disk = true\n'
        f'[callback]\nurls = ["http://127.0.0.1:{receiver.server_port}/"]\nstart_spread = "0s"\n')
    address = {"hostname": "127.0.0.1", "sshPort": 47022, "username": USER, "password": PASSWORD}

    def add(daemon, number):
        path = root / "images" / str(number)
        path.mkdir(parents=True)
        return daemon.ask("POST", STORE_PATH, {"name": f"store {number}", "url": str(path), **address})

    daemon = Daemon(program, root)
    for number in range(STORES):
        uuid = add(daemon, number)["inventory"]["uuid"]
    daemon.stop()
    idle = Daemon(program, root, root / "idle")
    time.sleep(20)
    idle.stop()
    busy = Daemon(program, root, root / "busy")
    time.sleep(10)
    busy.ask("PUT", f"{STORE_PATH}/{uuid}/actions", {})
    for path in [STORE_PATH, f"{STORE_PATH}/{uuid}", "/imagestore/stores", f"/imagestore/stores/{uuid}/health"]:
        busy.ask("GET", path)
    for accept in ["text/plain", "application/openmetrics-text"]:
        busy.scrape(accept)
    add(busy, STORES)
    time.sleep(5)
    busy.stop()
    found = functions(program)
    return found, *(sizes_that_ran(found, executed(root / name, program)) for name in ["idle", "busy"])


def main():
    program = os.path.realpath(sys.argv[1])
    root = pathlib.Path(tempfile.mkdtemp())
    subprocess.run(["useradd", "-m", USER], check=True)
    subprocess.run(["chpasswd"], input=f"{USER}:{PASSWORD}", text=True, check=True)
    os.makedirs("/run/sshd", exist_ok=True)
    subprocess.run(["ssh-keygen", "-A"], check=True, stdout=subprocess.DEVNULL)
    server = subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", "/dev/null", "-o", "ListenAddress=127.0.0.1:47022",
                               "-o", "PidFile=none", "-o", "UsePAM=no", "-o", "UseDNS=no",
                               "-o", "Subsystem=sftp internal-sftp"])
    try:
        write_order(*record_runs(program, root))
    finally:
        server.terminate()
        subprocess.run(["userdel", "-r", USER], stderr=subprocess.DEVNULL)
        shutil.rmtree(root)


main()
