"""`python -m fwdcap.lab.udp`: the smallest UDP service and its client.

echo ADDRESS PORT          answer every datagram with itself, until stopped
ask ADDRESS PORT COUNT     send COUNT numbered datagrams one by one, print the answers
"""

from __future__ import annotations

import socket
import sys

_ANSWER_S = 2.0


def echo(address: str, port: int) -> None:
    """Serve for ever."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as service:
        service.bind((address, port))
        while True:
            data, sender = service.recvfrom(65535)
            service.sendto(data, sender)


def ask(address: str, port: int, count: int) -> int:
    """How many of `count` datagrams came back as they were sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_ANSWER_S)
        client.connect((address, port))
        return sum(_comes_back(client, f"datagram {number}\n") for number in range(count))


def _comes_back(client: socket.socket, text: str) -> bool:
    client.send(text.encode())
    try:
        return client.recv(65535) == text.encode()
    except OSError:  # no answer in time, or an ICMP error
        return False


def main(arguments: list[str]) -> int:
    """Exit code 0 when every datagram was answered, 2 for wrong usage."""
    match arguments:
        case ["echo", address, port]:
            echo(address, int(port))
            return 0
        case ["ask", address, port, count]:
            answered = ask(address, int(port), int(count))
            print(f"{answered} of {count} datagrams came back")
            return 0 if answered == int(count) else 1
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
