# expect: ok
# promise: 1
"""Looks for somebody to talk to over path and abstract UNIX sockets: the engine, containerd, D-Bus, another sandbox."""

import os
import socket

import pandas

NAMES = ["/var/run/docker.sock", "/run/docker.sock", "/run/containerd/containerd.sock", "/run/dbus/system_bus_socket", "/dev/log",
         "\0/containerd-shim/moby", "\0/tmp/.X11-unix/X0", "\0neighbour"]


def attack():
    for name in NAMES:
        with socket.socket(socket.AF_UNIX) as reached:
            assert reached.connect_ex(name) != 0, f"{name!r} answered"
    sockets = open("/proc/net/unix").read().splitlines()[1:]
    assert all(line.split()[-1].isdigit() for line in sockets), f"named sockets of others: {sockets}"
    found = [os.path.join(place, name) for place, _, names in os.walk("/run") for name in names if not os.path.isfile(os.path.join(place, name))]
    assert not found, found


def azureml_main():
    attack()
    return pandas.DataFrame({"harmless": [1]})
