"""Data files of other testers, read as they are: what is wrong with one is told, never corrected."""

from controller.datafile.reading import DataFile, Lines, read_data_file

__all__ = ["DataFile", "Lines", "read_data_file"]
