"""Logs in with one of Python's SSH libraries, once for each line on stdin, and prints what it took in
nanoseconds: TCP connection, key exchange, authentication. Called by peers.rs.

usage: peers.py LIBRARY HOST PORT USER KEYFILE
"""

import socket
import sys
import time

library, host, port, user, keyfile = sys.argv[1:6]
port = int(port)


def timed(login):
    """How long a login takes; what it returns is closed after that."""
    begun = time.perf_counter_ns()
    close = login()
    took = time.perf_counter_ns() - begun
    close()
    return took


def by_paramiko():
    import paramiko

    key = paramiko.Ed25519Key.from_private_key_file(keyfile)

    def login():
        transport = paramiko.Transport((host, port))
        transport.start_client()
        transport.auth_publickey(user, key)
        return transport.close

    return lambda: timed(login)


def by_asyncssh():
    import asyncio

    import asyncssh

    key = asyncssh.read_private_key(keyfile)
    loop = asyncio.new_event_loop()

    def login():
        connecting = asyncssh.connect(
            host, port, username=user, client_keys=[key], known_hosts=None, config=None, agent_path=None
        )
        connection = loop.run_until_complete(connecting)

        def close():
            connection.close()
            loop.run_until_complete(connection.wait_closed())

        return close

    return lambda: timed(login)


def by_libssh2():
    from ssh2.session import Session

    def login():
        tcp = socket.create_connection((host, port))
        session = Session()
        session.handshake(tcp)
        session.userauth_publickey_fromfile(user, keyfile, passphrase="")

        def close():
            session.disconnect()
            tcp.close()

        return close

    return lambda: timed(login)


try:
    once = {"paramiko": by_paramiko, "asyncssh": by_asyncssh, "libssh2": by_libssh2}[library]()
except ImportError as missing:
    print("missing:", missing, flush=True)
    sys.exit()
print("ready", flush=True)
for _ in sys.stdin:
    print(once(), flush=True)
