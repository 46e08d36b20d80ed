"""The programs that Steno is measured beside: which there are, and where they come from."""
import os
import shutil
import subprocess
import sys

from host import SHARED, quiet, say

# Program -> Debian's package.
PEERS = {
    "/usr/sbin/stenotype": "stenographer",
    "/usr/sbin/stenographer": "stenographer",
    "stenocurl": "stenographer-client",
    "tcpreplay": "tcpreplay",
    "tcpdump": "tcpdump",
    "dumpcap": "wireshark-common",
    "netsniff-ng": "netsniff-ng",
    "fio": "fio",
    "ip": "iproute2",
    "curl": "curl",
}


def missing():
    return {program: package for program, package in PEERS.items() if not shutil.which(program)}


def install():
    """Installs what is missing; ends the run, naming it, where that fails."""
    if os.geteuid() != 0:
        sys.exit("needs root: for network namespaces, packet sockets and the page cache")
    if lacks := missing():
        packages = sorted(set(lacks.values()))
        say("installs", *packages)
        quiet_env = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
        try:
            quiet("apt-get", "update", "-qq", env=quiet_env)
            quiet("apt-get", "install", "-y", "-qq", *packages, env=quiet_env)
        except (OSError, subprocess.CalledProcessError) as e:
            say(f"cannot install: {e}")
    if lacks := missing():
        sys.exit("missing: " + ", ".join(f"{program} (package {package})" for program, package in lacks.items()))
    for script in (SHARED / "peer" / "traffic.py", SHARED / "corpus" / "amplify.py"):
        if not script.exists():
            sys.exit(f"missing: {script}, which makes the traffic")
    try:
        import numpy  # noqa: F401, PLC0415
    except ImportError:
        sys.exit("missing: Python's numpy, which makes the traffic")
