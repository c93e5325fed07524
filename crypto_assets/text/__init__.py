"""Text that others have written, made safe to keep and to show: URLs without passwords, control characters as escapes."""
