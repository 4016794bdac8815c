"""Signals that ask to stop, and the watchdog that ends a process whose main thread cannot react to them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from transformer.system.signals import REASONS, StopSignals, exit_on_signals, signal_of

ROOT = Path(__file__).parents[2]
STUCK = """
import hashlib
from transformer.system.signals import exit_on_signals
with exit_on_signals():
    print("ready", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 10**9)  # takes minutes, in C
"""
LINGERING = """
import hashlib, threading
from transformer.system.signals import exit_on_signals
with exit_on_signals():
    threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"a", b"b", 10**9)).start()
    print("ready", flush=True)
    threading.Event().wait()
"""
LATE = f"""  # the watchdog sees a signal after the main thread
import select, time
at_once = select.select
select.select = lambda *wanted: (at_once(*wanted), time.sleep(0.3))[0]
{LINGERING}"""


@pytest.mark.parametrize("code", [STUCK, LINGERING, LATE], ids=["a C function", "a thread", "a thread, seen late"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_a_process_that_has_nothing_to_save(code: str, number: signal.Signals) -> None:
    command = [sys.executable, "-c", f"import signal\nsignal.signal({int(number)}, signal.SIG_DFL)\n{code}"]
    if number == signal.SIGINT:
        command[-1] = command[-1].replace("SIG_DFL", "default_int_handler")
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        time.sleep(0.2)  # until it is inside the function
        asked = time.monotonic()
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert time.monotonic() - asked < 3.5


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_a_process_that_imports_a_module(tmp_path: Path, number: signal.Signals) -> None:
    """A library that is being imported could turn the exception of a handler into another, or into SIGABRT."""
    (tmp_path / "slow.py").write_text(
        "import time\n"
        "try:\n    print('ready', flush=True)\n    time.sleep(60)\n"
        "except BaseException:\n    raise ImportError('broken') from None\n"
    )
    code = (
        "import signal, sys\n"
        "from transformer.system.signals import exit_on_signals, interrupt\n"
        "signal.signal(signal.SIGINT, interrupt)\n"
        f"sys.path.insert(0, {str(tmp_path)!r})\n"
        "with exit_on_signals():\n    import slow\n"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(number)
        assert process.wait(10) == 128 + number
        assert process.stderr.read() == ""


@pytest.fixture
def not_ignored() -> Iterator[None]:
    """Restore what nohup changes."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("not_ignored")
def test_handlers_are_put_back() -> None:
    before = {number: signal.getsignal(number) for number in REASONS}
    wakeup = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(wakeup)
    with exit_on_signals(), StopSignals() as signals:
        os.kill(os.getpid(), signal.SIGUSR1)
        os.kill(os.getpid(), signal.SIGHUP)
        assert signals.save
        assert signals.stop == signal.SIGHUP
    assert {number: signal.getsignal(number) for number in REASONS} == before
    assert signal.set_wakeup_fd(wakeup) == wakeup


def test_each_reason_belongs_to_a_signal() -> None:
    assert all(signal_of(why) == number for number, why in REASONS.items())
    assert signal_of("time limit") is None
