"""The errors that a user can cause and fix.

    TransformerError        exit code 1
    ├── ConfigError         exit code 2: a key, a value or an option is wrong
    ├── DataError           text that cannot be read or does not fit together
    ├── CheckpointError     a run directory or checkpoint that cannot be used
    └── DeviceError         exit code 2: the device asked for is not there

Each message is one sentence saying what, where and what to do. Anything else that escapes is a fault of
ours and comes with its traceback.
"""

EXIT_INTERRUPTED, EXIT_TERMINATED = 130, 143
"""Exit codes after SIGINT and SIGTERM, by the shell's convention of 128 plus the signal's number."""


class TransformerError(Exception):
    """Root of all errors that the command line turns into one sentence."""

    exit_code = 1


class ConfigError(TransformerError):
    """A configuration or an option that cannot mean anything."""

    exit_code = 2


class DataError(TransformerError):
    """Text that cannot be read, or files that do not belong together."""


class CheckpointError(TransformerError):
    """A run directory or checkpoint that cannot be used."""


class DeviceError(TransformerError):
    """A device that this machine does not have."""

    exit_code = 2
