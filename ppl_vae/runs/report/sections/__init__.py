"""The sections of a report, one file each: a file that is added here is a section of every report.

A file has ``TITLE``, ``PLACE`` (sections are in ascending order of it) and ``section(subject)``, which returns the
section's content, or None where there is nothing to show.
"""
