"""What belongs to the machine and the process: device, memory, signals, threads, fellow processes."""
