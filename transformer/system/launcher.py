"""What the launcher of several processes, `torchrun` or `srun`, says in environment variables."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from dataclasses import dataclass

from transformer.errors import ConfigError

LOCAL = ("LOCAL_RANK", "SLURM_LOCALID", "OMPI_COMM_WORLD_LOCAL_RANK")
"""Variables that number the processes of a node, the first that is set counts: of torchrun, srun and mpirun."""
INTERFACES = {"GLOO_SOCKET_IFNAME": False, "NCCL_SOCKET_IFNAME": True}
"""Variables that name network interfaces, and whether beginnings of names are enough."""

ADDRESS_OF_INTERFACE = 0x8915
"""Linux's SIOCGIFADDR."""


@dataclass(frozen=True)
class Launch:
    """The place of this process among those that were started together."""

    rank: int = 0
    count: int = 1
    local: int | None = None
    """Number of this process on its node, or None if the launcher does not say it."""
    host: str = ""
    """Where the processes meet."""
    port: int = 0
    bound: bool = False
    """Whether the launcher may have given each process a GPU of its own, as srun does."""

    @property
    def here(self) -> str:
        """The place to meet, as text."""
        return f"{self.host}:{self.port}"


def read_launch() -> Launch:
    """Return what the launcher says. A single process needs no other variable than WORLD_SIZE.

    Raises ConfigError for variables that do not describe a group of processes, or an interface that is missing here.
    """
    count = _number("WORLD_SIZE", 1) if _is_set("WORLD_SIZE") else 1
    if count == 1:
        if not _is_set("WORLD_SIZE") and _is_set("RANK") and os.environ["RANK"].strip() != "0":
            raise ConfigError(
                f"RANK is {os.environ['RANK'].strip()!r}, but WORLD_SIZE, the number of processes, is not set: start "
                "training with torchrun, or unset RANK to train in one process"
            )
        return Launch()
    rank, port = _number("RANK", 0, count - 1), _number("MASTER_PORT", 1, 65535)
    named = next((name for name in LOCAL if _is_set(name)), None)
    for name, beginnings in INTERFACES.items():
        _check_interfaces(name, beginnings)
    local = _number(named, 0) if named else None
    host = os.environ.get("MASTER_ADDR", "").strip()
    return Launch(rank, count, local, host, port, bound=_is_set("SLURM_LOCALID"))


def restarted() -> bool:
    """Return whether `torchrun` or SLURM has started this process again: after an error, or a job that was requeued."""
    counts = [os.environ.get(f"{by}_RESTART_COUNT", "").strip() for by in ("TORCHELASTIC", "SLURM")]
    return any(text.isdecimal() and int(text) > 0 for text in counts)


def job() -> str:
    """Return what the restarts of one job have in common."""
    if number := os.environ.get("SLURM_JOB_ID", "").strip():
        return f"SLURM {number}"
    name = os.environ.get("TORCHELASTIC_RUN_ID", "none")
    return name if name != "none" else f"{socket.gethostname()} {os.getppid()}"  # "none" is torchrun's for all jobs


def _is_set(name: str) -> bool:
    return bool(os.environ.get(name, "").strip())


def _number(name: str, least: int, most: int | None = None) -> int:
    """Return the number in an environment variable. Raises ConfigError if it is none."""
    text = os.environ.get(name, "").strip()
    if not text.isascii() or not text.isdecimal() or int(text) < least or (most is not None and int(text) > most):
        wanted = f"a number from {least}" + (f" to {most}" if most is not None else "")
        raise ConfigError(
            f"the environment variable {name} is {text!r}, but must be {wanted}: start training with torchrun, "
            "or unset WORLD_SIZE to train in one process"
        )
    return int(text)


def interface_of(address: str) -> str | None:
    """Return the network interface that has an IPv4 address, or None if that is not known."""
    try:
        import fcntl
    except ImportError:  # a system without such calls
        return None
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for _, name in socket.if_nameindex():
            with contextlib.suppress(OSError):  # it has no such address
                found = fcntl.ioctl(any_socket, ADDRESS_OF_INTERFACE, struct.pack("256s", name.encode()[:15]))
                if socket.inet_ntoa(found[20:24]) == address:
                    return name
    return None


def _check_interfaces(name: str, beginnings: bool) -> None:
    """Raise ConfigError if a variable names a network interface that this machine lacks.

    NCCL also takes beginnings of names, exact names after `=`, and after `^` what not to use.
    """
    text = os.environ.get(name, "").strip()
    if not text or text.startswith("^"):
        return
    here = [interface for _, interface in socket.if_nameindex()]
    for wanted in filter(None, text.removeprefix("=").split(",")):
        found = any(each.startswith(wanted) for each in here) if beginnings and text[0] != "=" else wanted in here
        if found and beginnings:
            return  # one of them is enough
        if not found and not beginnings:
            break
    else:
        if not beginnings:
            return
    raise ConfigError(f"{name} is {text!r}, but the network interfaces here are: {', '.join(here)}")
