"""This machine and this process: ports, private folders, threads, memory, and how a process ends."""
