"""Records a share of the calls and their answers in files. Imports the edge's calls and below; only `server` imports it."""
