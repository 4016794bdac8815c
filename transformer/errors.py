"""The errors that a user can cause and fix.

    TransformerError        exit code 1
    ├── ConfigError         exit code 2: a key, a value or an option is wrong
    ├── DataError           text that cannot be read or does not fit together
    ├── CheckpointError     a run directory or checkpoint that cannot be used
    └── DeviceError         exit code 2: the requested device is not available

Each message is one sentence that says what is wrong, where, and what to do. Any other exception is a bug in this
package and is shown with its traceback.
"""

EXIT_INTERRUPTED = 130
"""Exit code after SIGINT, by the shell's convention of 128 plus the signal's number."""


class TransformerError(Exception):
    """Base class of all errors that the command line reports as one sentence."""

    exit_code = 1


class ConfigError(TransformerError):
    """A configuration or an option that is not valid."""

    exit_code = 2


class DataError(TransformerError):
    """Text that cannot be read, or files that do not belong together."""


class CheckpointError(TransformerError):
    """A run directory or checkpoint that cannot be used."""


class DeviceError(TransformerError):
    """A device that is not available on this machine or cannot do what is asked of it."""

    exit_code = 2
