"""An exchange's archive: listings, the objects that hold a day, downloads, and what explains a day without an object."""
