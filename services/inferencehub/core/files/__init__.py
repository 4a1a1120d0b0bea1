"""Files that settings name, read again when they change, and the files below a directory; `tls`, `auth` and the tiers import it, it imports `audit`."""
