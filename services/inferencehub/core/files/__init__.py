"""Files that settings name, read again when they change; `tls` and `auth` import it, it imports `audit`."""
