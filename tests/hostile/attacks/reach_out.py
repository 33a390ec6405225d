# expect: ok
# promise: 1
"""Connects and sends to everything that might answer: the internet, metadata services, the bridge, multicast, names."""

import errno
import os
import socket

import pandas

TCP = [("192.0.2.1", 443), ("169.254.169.254", 80), ("172.17.0.1", 2375), ("10.0.0.1", 6379), ("2001:db8::1", 443), ("fd00:ec2::254", 80)]
UDP = [("192.0.2.1", 53), ("255.255.255.255", 9), ("224.0.0.1", 9), ("172.17.0.1", 53)]
NOWHERE = (errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EACCES)


def attack():
    for kind, targets in ((socket.SOCK_STREAM, TCP), (socket.SOCK_DGRAM, UDP)):
        for address, port in targets:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            with socket.socket(family, kind) as reached:
                reached.settimeout(2)
                if kind == socket.SOCK_DGRAM and family == socket.AF_INET:
                    reached.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
                try:
                    reached.connect((address, port))
                    reached.send(b"x")
                except OSError as error:
                    assert error.errno in NOWHERE, (address, port, error)
                else:
                    raise AssertionError(f"{address} port {port} was reached")
    for name in ("example.org", "metadata.google.internal", "redis", "host.docker.internal"):
        try:
            socket.getaddrinfo(name, 80)
        except OSError:
            continue
        raise AssertionError(f"the name {name} was found")
    assert os.listdir("/sys/class/net") == ["lo"]


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
