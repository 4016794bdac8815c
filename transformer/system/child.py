"""A child process for a long C function: there it can be ended at once, here it would hold back every signal."""

from __future__ import annotations

import contextlib
import os
import signal
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import IO, NoReturn

from transformer.errors import TransformerError
from transformer.system.signals import STOPPING

FRAME, END = struct.Struct("<I"), 0xFFFFFFFF
"""The length before each text that a child reads, and what follows the last one."""
FAILED = 3
"""Exit code of a child that has written the reason to standard output."""


class ChildError(Exception):
    """A child reports that its work cannot be done. The message is the reason."""


class NoChildError(Exception):
    """No child process can be started here, so the work has to be done in this process."""


def run_child(
    module: str, argument: str, texts: Iterable[str], work: str, heard: Callable[[str], None] = lambda line: None
) -> bytes:
    """Run a module as a child process, send it texts, and return its answer. It uses `texts_sent` and `end_child`.

    `heard` gets each line that the child writes to standard error, in a thread.
    Any exception here, such as that of a signal handler, ends the child, and so does the end of this process. Raises
    ChildError, NoChildError, or TransformerError if the child is killed; `work` then says what it was doing.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(os.path.abspath, sys.path))}
    try:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, argument],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment,
        )  # fmt: skip
    except (OSError, ValueError) as error:
        raise NoChildError(str(error)) from None
    assert process.stderr is not None
    listener = threading.Thread(target=_listen, args=(process.stderr, heard), daemon=True)
    listener.start()
    try:
        answer = _ask(process, texts)
        code = process.wait()
    finally:
        process.kill()  # if it still runs
        process.wait()
        listener.join()
        assert process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
    if code == FAILED:
        raise ChildError(answer.decode())
    if code < 0:
        raise TransformerError(
            f"{work} was ended by {signal.Signals(-code).name}, probably because memory ran out; lower tokenizer.sample"
        )
    if code:
        raise NoChildError(f"exit code {code}")
    return answer


def _listen(stream: IO[bytes], heard: Callable[[str], None]) -> None:
    with stream:
        for line in stream:
            heard(line.decode(errors="replace"))


def _ask(process: subprocess.Popen[bytes], texts: Iterable[str]) -> bytes:
    """Send the texts and return the answer. Standard input stays open: its end would mean that this process is dead."""
    assert process.stdin is not None
    assert process.stdout is not None
    with process.stdout as output:
        try:
            for text in texts:
                content = text.encode()
                process.stdin.write(FRAME.pack(len(content)) + content)
            process.stdin.write(FRAME.pack(END))
            process.stdin.flush()
        except BrokenPipeError:  # the child has ended
            pass
        return output.read()


def texts_sent() -> Iterator[str]:
    """Yield, in a child, the texts that its parent sends. From then on the end of the parent ends this process."""
    for name in (*STOPPING, "SIGUSR1"):  # they may be sent to all processes of a terminal or job; the parent decides
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    stream = sys.stdin.buffer
    while (size := FRAME.unpack(stream.read(FRAME.size))[0]) != END:
        yield stream.read(size).decode()
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> NoReturn:
    os.read(0, 1)  # the parent sends no more, so this waits for the end of the stream
    os._exit(1)


def end_child(answer: bytes, code: int = 0) -> NoReturn:
    """End a child with its answer, or with the code FAILED and the reason."""
    sys.stdout.buffer.write(answer)
    sys.stdout.buffer.flush()
    os._exit(code)  # without Python's clean-up, which would wait for the thread
