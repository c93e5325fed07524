"""What people configure: collection.yaml, the environment, and what a command is asked about."""
