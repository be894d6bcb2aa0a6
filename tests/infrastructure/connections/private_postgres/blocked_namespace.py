"""Runs a command as root in a user namespace with a full uid map, in which no further namespace can be made.

`blocked_namespace.py COMMAND…` is what a container looks like whose seccomp profile blocks user namespaces, made by
the kernel and not by a stub. Only root can start it. `UNKNOWN_UID=N` in the environment gives up root for that uid.
"""

import ctypes
import os
import sys
from pathlib import Path

CLONE_NEWUSER = 0x10000000
EVERYBODY = "0 0 4294967295"


def main() -> None:
    main_pid = os.getpid()
    ready, go = os.pipe()
    outside = os.fork()
    if outside == 0:
        # Stays in the outer namespace, where alone a full map may be written.
        os.read(ready, 1)
        Path(f"/proc/{main_pid}/uid_map").write_text(EVERYBODY)
        Path(f"/proc/{main_pid}/gid_map").write_text(EVERYBODY)
        os._exit(0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWUSER) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    os.write(go, b"x")
    assert os.waitpid(outside, 0)[1] == 0
    Path("/proc/sys/user/max_user_namespaces").write_text("0")
    if "UNKNOWN_UID" in os.environ:
        uid = int(os.environ["UNKNOWN_UID"])
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
    os.execv(sys.argv[1], sys.argv[1:])


main()
