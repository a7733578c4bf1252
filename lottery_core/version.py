"""The version of the project, the same for all its packages."""

VERSION = "0.1.0"
