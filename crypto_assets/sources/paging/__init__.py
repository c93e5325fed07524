"""The usual ways through the pages of an API, one module each: by time, by number, by token."""
