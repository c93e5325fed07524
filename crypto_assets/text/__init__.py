"""Make text from outside safe to store and show: URLs without passwords, control characters as escapes."""
