"""The machine: where things are on it, what a process on it has used, what it is made of."""
import contextlib
import os
import pathlib
import platform
import shutil
import signal
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "release"
TICK_S = 1 / os.sysconf("SC_CLK_TCK")


def run(*args, **kw):
    return subprocess.run([str(a) for a in args], check=True, **kw)


def quiet(*args, **kw):
    return run(*args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, **kw)


def say(*words):
    print(*words, flush=True)


def until(what, holds, seconds=30, pause=0.05):
    """Waits until `holds()` gives something true, and gives that."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := holds():
            return found
        time.sleep(pause)
    sys.exit(f"not after {seconds} s: {what}")


def drop_caches():
    """Forgets every clean page, directory entry and inode: what is read next comes from the disk."""
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


class Process:
    """A program that is being measured: what the operating system accounts to it, all its threads, until its end."""

    started = []

    def __init__(self, args, log, **kw):
        self.log = log
        with open(log, "w") as out:
            self.child = subprocess.Popen([str(a) for a in args], stdout=out, stderr=out, **kw)
        self.pid = self.child.pid
        self.usage = None
        self.used = {}
        Process.started.append(self)

    def cpu(self):
        """user and system seconds until now"""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, IndexError):
            fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rsplit(")", 1)[1].split()
            return int(fields[11]) * TICK_S, int(fields[12]) * TICK_S
        return None

    def threads(self, beginning):
        """seconds of CPU of its threads of such names, as last seen"""
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            for task in pathlib.Path(f"/proc/{self.pid}/task").iterdir():
                name = (task / "comm").read_text().strip()
                self.used[task.name, name] = int((task / "schedstat").read_text().split()[0]) / 1e9
        return sum(seconds for (_, name), seconds in self.used.items() if name.startswith(beginning))

    def memory(self, field="VmHWM"):
        """bytes: VmHWM is the most that was resident, VmRSS what is now"""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1]) << 10
        return 0

    def written(self):
        """bytes that it had written to disks until now"""
        for line in pathlib.Path(f"/proc/{self.pid}/io").read_text().splitlines():
            if line.startswith("write_bytes:"):
                return int(line.split()[1])
        return 0

    def gone(self):
        """Whether it has ended; its account is then in `usage`."""
        if self.usage is None:
            pid, status, usage = os.wait4(self.pid, os.WNOHANG)
            if pid:
                # Nobody is to wait for it a second time.
                self.usage, self.child.returncode = usage, os.waitstatus_to_exitcode(status)
        return self.usage is not None

    def tell(self, sign):
        if not self.gone():
            os.kill(self.pid, sign)

    def end(self, seconds=30, sign=signal.SIGTERM, over=lambda: False):
        """Ends it, at once where `over()` says that there is nothing to wait for; gives all the user and system seconds."""
        self.tell(sign)
        deadline = time.monotonic() + seconds
        while not self.gone() and not over() and time.monotonic() < deadline:
            time.sleep(0.005)
        if not self.gone():
            self.tell(signal.SIGKILL)
            until("a killed process is gone", self.gone)
        return self.usage.ru_utime, self.usage.ru_stime

    @classmethod
    def kill_all(cls):
        """What a measurement that failed has left running."""
        for process in cls.started:
            if not process.gone():
                process.end(0)
        cls.started.clear()

    def told(self):
        return self.log.read_text(errors="replace")


class Share:
    """A group of processes that gets so much of a core: cgroup v2's cpu.max, or v1's cpu.cfs_quota_us."""

    # A quota is no less than a millisecond, 5 % of this.
    PERIOD_US = 20_000

    def __init__(self, share):
        quota = int(share * self.PERIOD_US)
        v2, v1 = (pathlib.Path("/sys/fs/cgroup", sub) for sub in ("cgroup.subtree_control", "cpu/cpu.cfs_quota_us"))
        name = f"stenobench{os.getpid()}"
        if v2.exists() and "cpu" in (v2.parent / "cgroup.controllers").read_text().split():
            v2.write_text("+cpu")
            self.at, self.how, self.limit = v2.parent / name, "cgroup v2, cpu.max", "cpu.max"
            self.at.mkdir()
            self.held, self.free = f"{quota} {self.PERIOD_US}", "max"
        elif v1.parent.exists():
            self.at, self.how, self.limit = v1.parent / name, "cgroup v1, cpu.cfs_quota_us", "cpu.cfs_quota_us"
            self.at.mkdir()
            (self.at / "cpu.cfs_period_us").write_text(str(self.PERIOD_US))
            self.held, self.free = str(quota), "-1"
        else:
            sys.exit("there is no cgroup here that holds a process to a share of a core")

    def hold(self, pid):
        """From now on it gets no more than its share."""
        (self.at / self.limit).write_text(self.held)
        (self.at / "cgroup.procs").write_text(str(pid))

    def let_go(self):
        (self.at / self.limit).write_text(self.free)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        Process.kill_all()
        until("the group is empty", lambda: not (self.at / "cgroup.procs").read_text().strip())
        self.at.rmdir()


def facts(directory):
    """commit, CPU, kernel, memory and disk, in a line"""
    commit = run("git", "rev-parse", "--short", "HEAD", cwd=ROOT, capture_output=True, text=True).stdout.strip()
    changed = run("git", "status", "--porcelain", "--untracked-files=no", "--", ".", ":!docs", ":!benches", cwd=ROOT, capture_output=True, text=True).stdout
    with open("/proc/cpuinfo") as info:
        model = next((line.split(":")[1].strip() for line in info if line.startswith("model name")), "unknown CPU")
    with open("/proc/meminfo") as info:
        memory = int(info.readline().split()[1]) / (1 << 20)
    mount = run("findmnt", "-no", "FSTYPE", "-T", directory, capture_output=True, text=True).stdout.split()
    free = shutil.disk_usage(directory).free >> 30
    return (f"commit {commit}{' and changes' if changed else ''}, {os.cpu_count()} cores ({model}), {memory:.0f} GiB, "
            f"Linux {platform.release()}, {mount[0] if mount else 'unknown file system'} with {free} GiB free")
