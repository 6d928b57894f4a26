"""tether.py PARENT PROGRAM [ARGUMENT...]: execute the program; the kernel kills it when the parent ends."""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1

if __name__ == "__main__":
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the parent has ended already")
    os.execv(sys.argv[2], sys.argv[2:])
