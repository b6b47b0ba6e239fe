"""Studies: one short file each, plain data, run by name with `rnnjax run NAME`."""
