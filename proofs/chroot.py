"""Stand-ins for an image and its containers, where no container engine is: a folder made by debootstrap, and chroot.

A container here is a process with its own process ids and mounts in the folder, as process 1 and as the image's user. All of
them share the folder and, after `leave_the_network`, one loopback interface that nobody else can reach.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shlex
import shutil
import signal
import socket
import struct
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from proofs.dockerfile import Stage, Step
from proofs.world import say

TOOLS = ("debootstrap", "unshare", "chroot", "setpriv", "mount")
RELEASE = "trixie"
PACKAGES = ("ca-certificates", "python3", "python3-venv", "python-is-python3")
"""What the image of python has of ours: Debian's own Python stands in for it."""

MIRROR = "http://deb.debian.org/debian"

_CLONE_NEWNS, _CLONE_NEWNET = 0x0002_0000, 0x4000_0000
_SIOCSIFFLAGS, _UP_AND_RUNNING = 0x8914, 0x41
_OF_NETWORK = ("SSL_CERT", "PIP_", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_FILES_OF_NETWORK = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf", "/etc/xdg/pip")


def missing() -> str | None:
    """Return what this machine cannot do, or None; installs debootstrap if root and apt-get are there."""
    if os.geteuid() != 0:
        return "root, for chroot"
    if shutil.which("debootstrap") is None and shutil.which("apt-get"):
        install = "apt-get update -qq && apt-get install --yes -qq --no-install-recommends debootstrap"
        subprocess.run(["/bin/sh", "-c", install], check=False, stdout=subprocess.DEVNULL)
    tools = [tool for tool in TOOLS if shutil.which(tool) is None]
    return f"the commands {', '.join(tools)}" if tools else None


def tool(name: str) -> str:
    """Return the path of a command."""
    return shutil.which(name) or name


def make_base(folder: Path) -> None:
    """Make Debian's smallest system with Python in a folder."""
    command = [
        tool("debootstrap"),
        "--variant=minbase",
        f"--include={','.join(PACKAGES)}",
        RELEASE,
        str(folder),
        MIRROR,
    ]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


@dataclass
class Image:
    """A folder in which the steps of a stage were done, and what they set."""

    root: Path
    variables: dict[str, str] = field(
        default_factory=lambda: {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"}
    )
    user: str = "0:0"
    workdir: str = "/"
    took_s: dict[str, float] = field(default_factory=dict)
    """Seconds of each RUN, by its beginning."""

    def inside(self, path: str) -> Path:
        """Return the place of an image's path, relative to its working directory, on this machine."""
        return self.root / os.path.normpath(os.path.join(self.workdir, path)).lstrip("/")  # noqa: PTH118

    @property
    def home(self) -> str:
        """The home folder of the user, from the image's /etc/passwd."""
        lines = (line.split(":") for line in (self.root / "etc/passwd").read_text().splitlines())
        return next((fields[5] for fields in lines if fields[2] == self.user.split(":")[0]), "/")

    def command(self, words: Sequence[str], variables: Mapping[str, str] | None = None) -> list[str]:
        """Return the command that runs words in the folder, as the user, in the working directory, as process 1."""
        user, _, group = self.user.partition(":")
        given = {"HOME": self.home, "LANG": "C.UTF-8", **self.variables, **(variables or {})}
        run = ["env", "-i", *(f"{name}={value}" for name, value in given.items()), *words]
        become = ["setpriv", f"--reuid={user}", f"--regid={group or user}", "--clear-groups"]
        # Semaphores of multiprocessing are files in /dev/shm.
        mounts = "mount -t proc proc /proc && mkdir -p /dev/shm && mount -t tmpfs -o mode=1777 tmpfs /dev/shm"
        go = f"{mounts} && cd {shlex.quote(self.workdir)} && exec {shlex.join([*become, *run])}"
        alone = ["unshare", "--pid", "--fork", "--mount"]
        return [*alone, "chroot", str(self.root), "/bin/sh", "-c", go]


def build(stage: Stage, root: Path, context: Path, done: Mapping[str, Image]) -> Image:
    """Do the steps of a stage in a folder that has its base already; return the image.

    Args:
        context: the folder that COPY takes files from.
        done: earlier stages, for `COPY --from`.
    """
    image = Image(root)
    for file in map(Path, _FILES_OF_NETWORK):
        if file.is_dir():
            shutil.copytree(file, root / file.relative_to("/"), dirs_exist_ok=True)
        elif file.exists():
            (root / file.relative_to("/")).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, root / file.relative_to("/"))
    network = {name: value for name, value in os.environ.items() if name.upper().startswith(_OF_NETWORK)}
    for step in stage.steps:
        _do(step, image, context, done, network)
    return image


def _do(step: Step, image: Image, context: Path, done: Mapping[str, Image], network: Mapping[str, str]) -> None:
    if step.word == "RUN":
        started = time.monotonic()
        subprocess.run(image.command(["/bin/sh", "-c", step.rest], network), check=True, stdin=subprocess.DEVNULL)
        image.took_s[step.rest[:60]] = time.monotonic() - started
        say(f"RUN {step.rest[:100]}: {image.took_s[step.rest[:60]]:.1f} s")
    elif step.word == "COPY":
        *sources, target = step.words
        stage = step.flags.get("from")
        base = done[stage].root if stage else context
        # .dockerignore keeps bytecode out of the context.
        ignore = None if stage else shutil.ignore_patterns("__pycache__")
        for source in sources:
            _copy(base / source.lstrip("/"), image.inside(target), into=target.endswith("/"), ignore=ignore)
    elif step.word == "ENV":
        image.variables |= Stage("", "", (step,)).variables()
    elif step.word == "USER":
        image.user = step.rest
    elif step.word == "WORKDIR":
        image.workdir = step.rest
        image.inside(".").mkdir(parents=True, exist_ok=True)


def _copy(source: Path, target: Path, *, into: bool, ignore: Callable[[str, list[str]], set[str]] | None) -> None:
    """Copy as COPY does: a folder's content into the target; a file to the target, or into it if that ends in a slash."""
    if source.is_dir():
        shutil.copytree(source, target, symlinks=True, dirs_exist_ok=True, ignore=ignore)
    else:
        target.mkdir(parents=True, exist_ok=True) if into else target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(source, target)


def leave_the_network() -> None:
    """Give this process and its children a network of their own, with a loopback interface and nothing else."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET | _CLONE_NEWNS) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, _SIOCSIFFLAGS, struct.pack("16sh14x", b"lo", _UP_AND_RUNNING))


class Container:
    """A running command of an image; its output goes to a file."""

    def __init__(self, image: Image, name: str, words: Sequence[str], variables: Mapping[str, str], log: Path) -> None:
        self.name = name
        self.log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                image.command(words, variables),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    @property
    def code(self) -> int | None:
        """The exit code, None while it runs."""
        return self._process.poll()

    def processes(self) -> list[int]:
        """Return process 1 of the container, as this machine numbers it; empty if it has ended."""
        task = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        try:
            return [int(pid) for pid in task.read_text().split()]
        except OSError:
            return []

    def stop(self, number: signal.Signals, grace_s: float) -> float:
        """Send the image's signal to process 1; return the seconds until the end.

        Raises:
            SystemExit: it did not end within the grace period.
        """
        started = time.monotonic()
        for pid in self.processes():
            os.kill(pid, number)
        try:
            self._process.wait(grace_s)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"{self.name}: still runs {grace_s:g} s after {number.name}\n{self.said()}") from None
        return time.monotonic() - started

    def kill(self) -> None:
        """End it at once: the kernel ends all processes of a namespace with its first one."""
        for pid in self.processes():
            os.kill(pid, signal.SIGKILL)
        self._process.wait()

    def said(self) -> str:
        """Return the end of its output."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-25:])
