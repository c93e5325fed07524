"""Why days and minutes are missing: outages, silences, the calendar. docs/concepts/incidents.md gives the rules."""
