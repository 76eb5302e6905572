"""Which system calls untrusted code may make, as seccomp programs.

A filter is a list of classic BPF instructions over `struct seccomp_data` (nr at byte 0, the
architecture at 4, six 64-bit arguments from 16); see seccomp(2). What is not listed fails with
EPERM, so a call that a later kernel adds is refused until somebody looks at it. Refused above all:
new processes and programs, sockets, signals to others, ptrace, mounts, namespaces, changing modes,
owners and times (Landlock does not cover those), io_uring (which would do the rest unseen) and
memory that `RLIMIT_AS` does not count (memfd, System V shared memory).
"""

from __future__ import annotations

import os
import platform
import struct
import sys

# name: (number on x86_64, number on aarch64); None where that machine has no such call.
_CALLS: dict[str, tuple[int | None, int | None]] = {}
_TABLE = """
read:0:63 close:3:57 fstat:5:80 lseek:8:62 mmap:9:222 mprotect:10:226 munmap:11:215 brk:12:214
rt_sigaction:13:134 rt_sigprocmask:14:135 rt_sigreturn:15:139 sigaltstack:131:132 write:1:64
pread64:17:67 pwrite64:18:68 readv:19:65 writev:20:66 preadv:295:69 pwritev:296:70 madvise:28:233
mremap:25:216 mincore:27:232 msync:26:227 dup:32:23 dup2:33: dup3:292:24 nanosleep:35:101
clock_nanosleep:230:115 clock_gettime:228:113 clock_getres:229:114 gettimeofday:96:169
times:100:153 getpid:39:172 getppid:110:173 gettid:186:178 getuid:102:174 geteuid:107:175
getgid:104:176 getegid:108:177 getgroups:115:158 getresuid:118:148 getresgid:120:150
getpgid:121:155 getsid:124:156 getrlimit:97:163 getrusage:98:165 sysinfo:99:179 uname:63:160
umask:95:166 getcwd:79:17 chdir:80:49 fchdir:81:50 mkdirat:258:34 unlinkat:263:35 renameat:264:38
renameat2:316:276 linkat:265:37 symlinkat:266:36 readlinkat:267:78 openat:257:56 faccessat:269:48
faccessat2:439:439 newfstatat:262:79 statx:332:291 ftruncate:77:46 getdents64:217:61 fcntl:72:25
flock:73:32 fsync:74:82 fdatasync:75:83 ioctl:16:29 statfs:137:43 fstatfs:138:44 fallocate:285:47
fadvise64:221:223 futex:202:98 set_robust_list:273:99 get_robust_list:274:100
set_tid_address:218:96 rseq:334:293 sched_yield:24:124 sched_getaffinity:204:123
sched_getparam:143:121 sched_getscheduler:145:120 sched_get_priority_max:146:125
sched_get_priority_min:147:126 membarrier:324:283 getcpu:309:168 exit:60:93 exit_group:231:94
restart_syscall:219:128 pipe2:293:59 eventfd2:290:19 epoll_create1:291:20 epoll_ctl:233:21
epoll_pwait:281:22 ppoll:271:73 pselect6:270:72 setitimer:38:103 getitimer:36:102
rt_sigpending:127:136 rt_sigtimedwait:128:137 rt_sigsuspend:130:133 wait4:61:260 waitid:247:95
getrandom:318:278 shutdown:48:210 getsockopt:55:209 setsockopt:54:208 getsockname:51:204
getpeername:52:205 recvfrom:45:207 open:2: stat:4: lstat:6: poll:7: access:21: pipe:22: select:23:
getdents:78: unlink:87: rmdir:84: mkdir:83: rename:82: link:86: symlink:88: readlink:89: time:201:
alarm:37: pause:34: getpgrp:111: epoll_create:213: epoll_wait:232: eventfd:284: arch_prctl:158:
clone:56:220 clone3:435:435 socketpair:53:199 sendto:44:206 prlimit64:302:261 execveat:322:281
chmod:90: fchmod:91:52 fchmodat:268:53 fchmodat2:452:452 utime:132: utimes:235: futimesat:261:
utimensat:280:88
"""
for _entry in _TABLE.split():
    _name, _x86, _arm = _entry.split(":")
    _CALLS[_name] = (int(_x86) if _x86 else None, int(_arm) if _arm else None)

# Allowed with certain arguments only.
_CONDITIONAL = {"clone", "clone3", "socketpair", "sendto", "prlimit64", "execveat"}
# Done nothing for, and called a success: Landlock does not cover modes and times, and `shutil.copy`
# sets them.
_PRETENDED = (
    "chmod", "fchmod", "fchmodat", "fchmodat2", "utime", "utimes", "futimesat", "utimensat",
)  # fmt: skip
_MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # column, AUDIT_ARCH_*

_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _KILL, _ERROR = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_CLONE_THREAD = 0x10000
_AF_UNIX = 1
_AT_EMPTY_PATH = 0x1000
_INTERPRETER = 1020  # the descriptor of Python in `jail`, closed once it runs

Instruction = tuple[int, int, int, int]


def supported() -> bool:
    """Whether this machine's system call numbers are known here."""
    return sys.platform == "linux" and sys.byteorder == "little" and platform.machine() in _MACHINES


def candidate_filter(machine: str | None = None, *, deny_truncate: bool = False) -> bytes:
    """The filter for untrusted code, as an array of `struct sock_filter`.

    `deny_truncate` also refuses to open with `O_TRUNC`: Landlock before its third version does not
    restrict truncation. A call made through another architecture's entry kills the process.
    Raises `KeyError` for a machine without a table.
    """
    column, audit = _MACHINES[machine or platform.machine()]
    program = _only_on(audit)
    numbers = {name: call[column] for name, call in _CALLS.items()}
    opens = {"open": 1, "openat": 2} if deny_truncate else {}
    for name, number in numbers.items():
        if number is not None and name not in _CONDITIONAL and name not in opens:
            verdict = _ERROR if name in _PRETENDED else _ALLOW  # error number 0 is success
            program += [(_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]
    # A thread shares the memory and dies with the process; anything else would be a process.
    program += _when(numbers["clone"], [_low(0), (_ANY_BIT, 0, 1, _CLONE_THREAD)])
    # ENOSYS makes the C library fall back to clone, whose flags a filter can see.
    program += [(_EQUAL, 0, 1, numbers["clone3"] or 0), (_RETURN, 0, 0, _ERROR | _ENOSYS)]
    # asyncio's event loop wakes itself through a pair; it must not reach a socket in the host.
    program += _when(numbers["socketpair"], [_low(0), (_EQUAL, 0, 1, _AF_UNIX)])
    program += _when(numbers["sendto"], [_low(4), (_EQUAL, 0, 3, 0), _high(4), (_EQUAL, 0, 1, 0)])
    program += _when(numbers["prlimit64"], [_low(0), (_EQUAL, 0, 1, 0)])  # 0: this process
    # Once, from a descriptor that closes itself then and whose number cannot be had again.
    once = [_low(4), (_EQUAL, 0, 3, _AT_EMPTY_PATH), _low(0), (_EQUAL, 0, 1, _INTERPRETER)]
    program += _when(numbers["execveat"], once)
    for name, argument in opens.items():
        program += _unless(numbers[name], [_low(argument), (_ANY_BIT, 0, 1, os.O_TRUNC)])
    return _assemble([*program, (_RETURN, 0, 0, _ERROR | _EPERM)])


def _only_on(audit: int) -> list[Instruction]:
    return [(_LOAD, 0, 0, 4), (_EQUAL, 1, 0, audit), (_RETURN, 0, 0, _KILL), (_LOAD, 0, 0, 0)]


def _when(number: int | None, test: list[Instruction]) -> list[Instruction]:
    """Allow the call where the test holds (its last jump skips one on failure), else EPERM."""
    return _branch(number, test, _ALLOW, _ERROR | _EPERM)


def _unless(number: int | None, test: list[Instruction]) -> list[Instruction]:
    return _branch(number, test, _ERROR | _EPERM, _ALLOW)


def _branch(
    number: int | None, test: list[Instruction], holds: int, fails: int
) -> list[Instruction]:
    if number is None:
        return []
    body = [*test, (_RETURN, 0, 0, holds), (_RETURN, 0, 0, fails)]
    return [(_EQUAL, 0, len(body), number), *body]


def _low(argument: int) -> Instruction:
    return (_LOAD, 0, 0, 16 + 8 * argument)


def _high(argument: int) -> Instruction:
    return (_LOAD, 0, 0, 20 + 8 * argument)


def _assemble(program: list[Instruction]) -> bytes:
    return b"".join(struct.pack("<HBBI", *step) for step in program)
