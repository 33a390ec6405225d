# stays: no
"""Changes to what every sandbox begins with: packages, compiled modules, the imports' pack, hooks; by name and by their pages."""

import mmap
import os
import site
import sys

import pandas
import pyarrow

FILES = (pandas.__file__, pyarrow.__file__, pyarrow.lib.__file__, sys.executable, "/opt/fumehood/imports.marshal",
         "/opt/fumehood/runner/supervisor.py", "/opt/fumehood/packages.json", "/etc/passwd", "/etc/hosts", "/in/script.py", "/in/request.json")
PLACES = (*site.getsitepackages(), os.path.dirname(os.__file__), os.path.join(os.path.dirname(pandas.__file__), "__pycache__"), "/tmp", "/var/tmp",
          "/run", "/in", "/out", "/opt/fumehood", "/opt/fumehood/matplotlib")
HOOKS = ("usercustomize.py", "left_behind.pth", "left_behind.py")


def leave():
    done = []
    for place in PLACES:
        for name in HOOKS:
            try:
                open(os.path.join(place, name), "w").close()
                done.append(os.path.join(place, name))
            except OSError:
                pass
    for path in FILES:
        try:
            os.close(os.open(path, os.O_RDWR))
            done.append(path)
        except OSError:
            pass
        try:
            with open(path, "rb") as file, mmap.mmap(file.fileno(), 1, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE):
                done.append(path + " as memory")
        except (OSError, ValueError):
            pass
        try:
            # Through a descriptor that is open for reading only.
            with open(path, "rb") as file, open(f"/proc/self/fd/{file.fileno()}", "r+b"):
                done.append(path + " opened again")
        except OSError:
            pass
    assert not done, done


def look():
    found = [os.path.join(place, name) for place in PLACES for name in HOOKS if os.path.exists(os.path.join(place, name))]
    return found + [name for name in ("usercustomize", "left_behind") if name in sys.modules]
