"""What belongs to the machine and the process: device, memory, signals, threads, distributed training."""
