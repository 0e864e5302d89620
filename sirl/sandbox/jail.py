"""The inside of a sandbox: a script that runs one Python program where it can compute and do nothing else.

`sirl.sandbox` starts it with the program on stdin. Before the program is run the process gives up, for good:

    the network, new processes, signals, writing, deleting, renaming files   by seccomp: only the system calls
                                                                             that computing needs are left
    more than some seconds of processor time, more than some memory          by limits of the process

Files can be read, since imports need it; what was read has no way out. Linux alone has seccomp.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import sys
from typing import Any

# name: (x86_64, aarch64); -1: the machine has none. What CPython needs to import, compute and end.
ALLOWED = {
    "read": (0, 63),
    "write": (1, 64),  # to what is open: the file of the result, which cannot grow far, and /dev/null
    "close": (3, 57),
    "stat": (4, -1),
    "fstat": (5, 80),
    "lstat": (6, -1),
    "lseek": (8, 62),
    "mmap": (9, 222),
    "mprotect": (10, 226),
    "munmap": (11, 215),
    "brk": (12, 214),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139),
    "pread64": (17, 67),
    "access": (21, -1),
    "sched_yield": (24, 124),
    "mremap": (25, 216),
    "madvise": (28, 233),
    "nanosleep": (35, 101),
    "getpid": (39, 172),
    "exit": (60, 93),
    "uname": (63, 160),
    "getcwd": (79, 17),
    "readlink": (89, -1),
    "gettimeofday": (96, 169),
    "getrusage": (98, 165),
    "sysinfo": (99, 179),
    "times": (100, 153),
    "getuid": (102, 174),
    "getgid": (104, 176),
    "geteuid": (107, 175),
    "getegid": (108, 177),
    "getppid": (110, 173),
    "sigaltstack": (131, 132),
    "gettid": (186, 178),
    "time": (201, -1),
    "futex": (202, 98),
    "sched_getaffinity": (204, 123),
    "getdents64": (217, 61),
    "clock_gettime": (228, 113),
    "clock_getres": (229, 114),
    "clock_nanosleep": (230, 115),
    "exit_group": (231, 94),
    "newfstatat": (262, 79),
    "readlinkat": (267, 78),
    "faccessat": (269, 48),
    "getrandom": (318, 278),
    "statx": (332, 291),
    "rseq": (334, 293),
    "faccessat2": (439, 439),
}
READ_ONLY = {"open": (2, -1, 1), "openat": (257, 56, 2)}  # and which argument holds the flags
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column above, AUDIT_ARCH of the kernel
_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
_KILL, _DENY, _ALLOW = 0x80000000, 0x00050001, 0x7FFF0000  # seccomp's verdicts; denied is EPERM
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06  # BPF's instructions, on 32-bit words
_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2  # of prctl


class _Instruction(ctypes.Structure):
    _fields_ = (
        ("code", ctypes.c_ushort),
        ("yes", ctypes.c_ubyte),
        ("no", ctypes.c_ubyte),
        ("k", ctypes.c_uint),
    )


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.POINTER(_Instruction)))


def supported() -> str:
    """Say why code cannot be locked in on this machine; empty if it can."""
    if sys.platform != "linux":
        return f"{sys.platform} has no seccomp, which locks a program in"
    if platform.machine() not in MACHINES:
        return (
            f"the system calls of {platform.machine()} are not known here, only those of {', '.join(MACHINES)}"
        )
    return ""


def lock(seconds: int, memory: int) -> None:
    """Give up all that computing does not need, for good. Raises OSError if the system does not allow it."""
    for kind, most in (
        (resource.RLIMIT_CPU, seconds),
        (resource.RLIMIT_AS, memory),
        (resource.RLIMIT_FSIZE, 1 << 16),
        (resource.RLIMIT_CORE, 0),
        (resource.RLIMIT_NPROC, 0),
    ):
        resource.setrlimit(kind, (most, most))
    rules = _rules(*MACHINES[platform.machine()])
    program = _Program(len(rules), (_Instruction * len(rules))(*rules))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0) or libc.prctl(_SECCOMP, _FILTER, ctypes.byref(program), 0, 0):
        raise OSError(ctypes.get_errno(), "the system does not allow seccomp")


def _rules(column: int, architecture: int) -> list[_Instruction]:
    """Return the filter: allow what is listed, opening files for reading, and deny the rest."""
    rules = [
        _Instruction(_LOAD, 0, 0, 4),  # the architecture
        _Instruction(_EQUAL, 1, 0, architecture),
        _Instruction(_RETURN, 0, 0, _KILL),
        _Instruction(_LOAD, 0, 0, 0),  # the number of the call
    ]
    for numbers in ALLOWED.values():
        if numbers[column] >= 0:
            rules += [_Instruction(_EQUAL, 0, 1, numbers[column]), _Instruction(_RETURN, 0, 0, _ALLOW)]
    for *opening, flags in READ_ONLY.values():
        if opening[column] >= 0:
            rules += [
                _Instruction(_EQUAL, 0, 4, opening[column]),
                _Instruction(_LOAD, 0, 0, 16 + 8 * flags),
                _Instruction(_ANY_BIT, 0, 1, _WRITING),
                _Instruction(_RETURN, 0, 0, _DENY),
                _Instruction(_RETURN, 0, 0, _ALLOW),
            ]
    return [*rules, _Instruction(_RETURN, 0, 0, _DENY)]


def main() -> None:
    """Run the program given on stdin; write the token given with it and how it ended."""
    given: dict[str, Any] = json.load(sys.stdin)
    sys.path.append(given["packages"])
    result = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    token, program = given["token"], given["program"]
    lock(given["seconds"], given["memory"])
    try:
        exec(compile(program, "<reply>", "exec"), {"__name__": "__main__"})
        ended = "passed"
    except BaseException as error:  # a reply may raise anything, SystemExit too
        ended = f"failed: {type(error).__name__}"
    os.write(result, f"{token} {ended}".encode()[:200])
    os._exit(0)


if __name__ == "__main__":
    main()
