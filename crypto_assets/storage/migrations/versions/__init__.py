"""One file for each revision, in numeric order."""
