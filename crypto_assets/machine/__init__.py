"""This machine and this process: ports, private folders, threads, memory, process exit."""
