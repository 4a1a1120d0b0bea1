"""Models by URI: fetched, checked and unpacked before the service starts; imported by `__main__`, and imports the layout of a repository."""
