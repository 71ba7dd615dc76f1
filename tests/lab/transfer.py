"""A large TCP transfer between two hosts, hashed at both ends.

    python transfer.py receive ADDRESS PORT          one connection, to its end
    python transfer.py send ADDRESS PORT BYTES SEED

Each prints a line of JSON: bytes and sha256 of what it sent or received.
"""

from __future__ import annotations

import hashlib
import json
import random
import socket
import sys

_CHUNK_BYTES = 1 << 20


def receive(address: str, port: int) -> None:
    with socket.create_server((address, port)) as listener:
        print("ready", flush=True)
        connection, _ = listener.accept()
    count, digest, chunk = 0, hashlib.sha256(), memoryview(bytearray(_CHUNK_BYTES))
    with connection:
        while got := connection.recv_into(chunk):
            digest.update(chunk[:got])
            count += got
    print(json.dumps({"bytes": count, "sha256": digest.hexdigest()}))


def send(address: str, port: int, count: int, seed: int) -> None:
    """Bytes without a pattern, so that nothing out of place goes unseen."""
    block = bytearray(random.Random(seed).randbytes(_CHUNK_BYTES))
    digest, left, number = hashlib.sha256(), count, 0
    with socket.create_connection((address, port)) as connection:
        while left:
            block[:8] = number.to_bytes(8, "big")
            chunk = memoryview(block)[: min(left, len(block))]
            connection.sendall(chunk)
            digest.update(chunk)
            left -= len(chunk)
            number += 1
    print(json.dumps({"bytes": count, "sha256": digest.hexdigest()}))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["receive", address, port]:
            receive(address, int(port))
        case ["send", address, port, count, seed]:
            send(address, int(port), int(count), int(seed))
        case _:
            sys.exit(__doc__)
