"""An exchange's archive: listings, the objects with a day's rows, downloads, and the reason for a day without an object."""
