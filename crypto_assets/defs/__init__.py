"""Everything that Dagster shows and runs: assets, checks, sensors, schedules, resources, IO managers."""
