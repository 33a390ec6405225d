# expect: out_of_memory
# promise: 5
"""Fills memory that belongs to no process, from one that is smaller than the supervisor: whom does the kernel end?"""

import os
import sys

FILL = "import os\nwhile True:\n file = os.memfd_create('x')\n while os.fstat(file).st_size < 8 * 2**20: os.write(file, bytes(2**20))"


def azureml_main():
    os.execv(sys.executable, [sys.executable, "-S", "-E", "-c", FILL])
