"""A line at work: its stations, the journal, the MES and the people in front of it. `controller.daemon` runs a line."""
