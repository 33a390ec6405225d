# stays: yes
"""What an interpreter, a shell or a library reads from its user's home when it begins."""

import os
import site
import subprocess
import sys

HOME = os.path.expanduser("~")
USER_SITE = site.getusersitepackages()
HOOK = "import os\nos.environ['LEFT_BEHIND'] = 'hook'\n"


def leave():
    os.makedirs(USER_SITE, exist_ok=True)
    os.makedirs(HOME + "/.config/matplotlib", exist_ok=True)
    for path in (USER_SITE + "/usercustomize.py", USER_SITE + "/sitecustomize.py", HOME + "/sitecustomize.py", HOME + "/.profile"):
        with open(path, "w") as file:
            file.write(HOOK)
    with open(USER_SITE + "/left.pth", "w") as file:
        file.write("import os; os.environ['LEFT_BEHIND'] = 'pth'\n")
    with open(HOME + "/.config/matplotlib/matplotlibrc", "w") as file:
        file.write("font.size: 3\n")


def look():
    """As this process began, and as the next one of this user begins."""
    code = "import os; print(os.environ.get('LEFT_BEHIND', ''))"
    begun = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=20).stdout.strip()
    return [os.environ.get("LEFT_BEHIND"), begun, *(os.listdir(USER_SITE) if os.path.isdir(USER_SITE) else [])]
