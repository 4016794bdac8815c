"""The machine and the process: device, memory, signals, threads, distributed training."""
