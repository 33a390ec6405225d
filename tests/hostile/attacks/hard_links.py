# expect: ok
# promise: 4
"""Links its inputs, outputs and the image's files into its outputs, by name, by descriptor and by number, to have more of them published or kept."""

import os

import pandas

SOURCES = ["/in/script.py", "/in/request.json", "/etc/passwd", "/etc/hosts", "/out/log", "/out/report.json", "/proc/1/environ", "/proc/self/fd/0", "/opt/fumehood/packages.json"]


def azureml_main():
    os.mkdir("outputs")
    made = []
    for number, source in enumerate(SOURCES):
        descriptor = os.open(source, os.O_RDONLY) if os.access(source, os.R_OK) else 0
        for way in (lambda: os.link(source, f"outputs/{number}"), lambda: os.link(f"/proc/self/fd/{descriptor}", f"outputs/fd-{number}", follow_symlinks=True),
                    lambda: os.rename(source, f"outputs/{number}")):
            try:
                way()
            except OSError:
                continue
            made.append(source)
    for directory in ("/in", "/", "/proc/self/cwd/../in", "/proc/1/root"):
        os.symlink(directory, "outputs/" + directory.replace("/", "_"))
    assert not made, made
    return pandas.DataFrame({"harmless": [1]})
