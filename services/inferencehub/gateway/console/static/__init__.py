"""The page's HTML, style and ES modules, as browsers get them. No code imports it; `console/files.py` reads them."""
