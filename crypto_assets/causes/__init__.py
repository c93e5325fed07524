"""Why days and minutes are missing: outages, silences, the calendar. docs/incidents.md gives the rules."""
